// A page with @microsoft/signalr: the messages that it hears, its errors, and the ids with which it has come back.

const given = Object.fromEntries(new URLSearchParams(location.search));
const { relay = '', room = '', transport = 'WebSockets', packed = '', place = '' } = given;
const heard = [];
const lost = [];
const returned = [];
const ended = [];
let builder = new signalR.HubConnectionBuilder()
  .withUrl(`${relay}/rooms/${room}/signalr?presence=0${place}`, { transport: signalR.HttpTransportType[transport] })
  .withAutomaticReconnect()
  .configureLogging(signalR.LogLevel.None);
if (packed) builder = builder.withHubProtocol(new signalR.protocols.msgpack.MessagePackHubProtocol());
const hub = builder.build();
hub.on('onMessageReceived', (envelope) => heard.push(envelope.message));
hub.on('error', (report) => lost.push(report));
hub.onreconnected((id) => returned.push(id));
hub.onclose((error) => ended.push(String(error)));

const begin = () => hub.start().then(() => hub.connectionId);
const say = (message) => hub.invoke('Send', { channel: 'c', message }).then(({ id }) => id);
const call = (...called) => hub.invoke(...called).catch((error) => error.message);
