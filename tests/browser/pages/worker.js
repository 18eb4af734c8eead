// A client in a worker, which asks for text and then for bytes, and tells its page of all that comes.
importScripts('/conformance/node_modules/engine.io-client/dist/engine.io.js');

onmessage = ({ data: { url, options } }) => {
  const socket = eio(url, options);
  let count = 0;
  socket.on('open', () => socket.send('0'));
  socket.on('message', (message) => {
    if (typeof message === 'string' && message.startsWith('51-')) return; // the bytes that follow belong to it
    if (typeof message === 'string' && message.startsWith('2["relay:position"')) return; // Follows each event.
    count++;
    if (count < 10) socket.send('2' + JSON.stringify(['echo', 'пойду спать всем спокойной ночи']));
    else if (count < 20) socket.send('2["give binary"]');
    postMessage(count > 1 && count < 11 ? JSON.parse(message.slice(1))[1] : message);
  });
};
