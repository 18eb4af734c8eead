// A bridge for programs that speak SIP over TCP alone: all TCP connections to it are one WebSocket of the relay, over which it
// registers a user. Messages of the stream are cut by their Content-Length. Arguments: the URL of the relay, the user, and the
// port of a program that waits for calls, or 0. Prints the port, once the user is registered.
import { connect, createServer } from 'node:net';

import WebSocket from 'ws';

const [url, user, waiting] = process.argv.slice(2);
const socket = new WebSocket(url, 'sip');
let stream = null;

function read(from) {
  let text = Buffer.alloc(0);
  stream = from;
  from.on('data', (data) => {
    text = Buffer.concat([text, data]);
    for (;;) {
      const head = text.indexOf('\r\n\r\n');
      if (head < 0) return;
      const length = /^(?:content-length|l)\s*:\s*(\d+)/im.exec(text.subarray(0, head).toString());
      const end = head + 4 + Number(length?.[1] ?? 0);
      if (text.length < end) return;
      socket.send(text.subarray(0, end).toString());
      text = text.subarray(end);
    }
  });
}

const server = createServer(read);
socket.on('open', () => socket.send([
  'REGISTER sip:localhost SIP/2.0',
  `Via: SIP/2.0/WS ${user}.invalid;branch=z9hG4bK1`,
  `From: <sip:${user}@localhost>;tag=1`,
  `To: <sip:${user}@localhost>`,
  'Call-ID: 1',
  'CSeq: 1 REGISTER',
  `Contact: <sip:${user}@${user}.invalid>`,
  'Content-Length: 0', '', '',
].join('\r\n')));
socket.once('message', (data) => {
  if (!data.toString().startsWith('SIP/2.0 200')) throw new Error(data.toString());
  socket.on('message', (message) => stream?.write(message));
  if (Number(waiting)) read(connect(Number(waiting), '127.0.0.1'));
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
});
