// Runs clients of @microsoft/signalr, which tests control by lines of JSON; see programs.py.
import { createInterface } from 'node:readline';
import * as signalR from '@microsoft/signalr';
import { MessagePackHubProtocol } from '@microsoft/signalr-protocol-msgpack';

const transports = {
  websocket: signalR.HttpTransportType.WebSockets,
  sse: signalR.HttpTransportType.ServerSentEvents,
  polling: signalR.HttpTransportType.LongPolling,
};
const targets = ['onMessageReceived', 'ReceiveMessage', 'joined', 'left', 'error'];
const hubs = {};

const print = (client, what, fields = {}) => process.stdout.write(JSON.stringify({ client, what, ...fields }) + '\n');

function build({ client, url, transport, packed, skip, token, timeout }) {
  const options = { transport: transports[transport], skipNegotiation: Boolean(skip) };
  if (token) options.accessTokenFactory = () => token;
  let builder = new signalR.HubConnectionBuilder().withUrl(url, options).configureLogging(signalR.LogLevel.None);
  builder = builder.withAutomaticReconnect([0, 200, 200, 200, 500, 500, 1000, 1000, 2000, 2000]);
  if (packed) builder = builder.withHubProtocol(new MessagePackHubProtocol());
  const hub = builder.build();
  if (timeout) hub.serverTimeoutInMilliseconds = timeout;
  for (const name of targets) hub.on(name, (...args) => print(client, 'event', { name, args }));
  hub.onreconnecting(() => print(client, 'disconnect'));
  hub.onreconnected((id) => print(client, 'reconnected', { id: id ?? '' }));
  hub.onclose((error) => print(client, 'close', { error: error ? error.message : '' }));
  return hub;
}

const commands = {
  async open(command) {
    const hub = (hubs[command.client] = build(command));
    await hub.start();
    print(command.client, 'connect', { id: hub.connectionId ?? '' });
  },
  async invoke({ client, mark, name, args }) {
    try {
      print(client, 'ack', { mark, answer: (await hubs[client].invoke(name, ...args)) ?? null });
    } catch (error) {
      print(client, 'ack', { mark, error: error.message });
    }
  },
  async send({ client, name, args }) {
    await hubs[client].send(name, ...args);
  },
  async stream({ client, name }) {
    hubs[client].stream(name).subscribe({
      next: () => {},
      complete: () => print(client, 'streamed', { error: '' }),
      error: (error) => print(client, 'streamed', { error: error.message }),
    });
  },
  async upload({ client, mark, name }) {
    const subject = new signalR.Subject();
    const answer = hubs[client].invoke(name, subject);
    subject.next(1);
    subject.complete();
    await answer.catch((error) => print(client, 'ack', { mark, error: error.message }));
  },
  async stop({ client }) {
    await hubs[client].stop();
  },
};

createInterface({ input: process.stdin }).on('line', (line) => {
  const command = JSON.parse(line);
  commands[command.do](command).catch((error) => print(command.client, 'failed', { error: error.message }));
});
