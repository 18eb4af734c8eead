// The view of a test on the library, which the seed's script has set up.

const heard = [];
const opened = [];
// Not the address of the page, which names the worker here.
connection.channel = 'signalr';
connection.iceServers = []; // nobody to ask on a loopback
connection.userid = `user-${Math.round(Math.random() * 1e9)}`;
connection.session = { data: true };
connection.onopen = (event) => opened.push(event.userid || event);
connection.onmessage = (event) => heard.push(event.data === undefined ? event : event.data);
