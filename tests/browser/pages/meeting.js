// A small meeting in the manner of the standalone experiments: all it knows of signaling is `openSocket`.
// Every page announces itself on the main channel. Of two, the one with the greater number calls; each pair talks on a
// channel of its own, named after both.
const me = currentUserUUID;
const peers = {};
const gone = [];

async function meet(open = openSocket) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
  const hall = open({
    onmessage: ({ here, answer, left }) => {
      if (left) return close(left);
      if (!here || peers[here]) return;
      if (!answer) hall.send({ here: me, answer: true });
      peers[here] = talk(open, stream, here);
    },
    onopen: () => hall.send({ here: me }),
  });
  window.leave = () => hall.send({ left: me });
}

function talk(open, stream, other) {
  const connection = new RTCPeerConnection();
  const channel = [me, other].sort().join('-');
  for (const track of stream.getTracks()) connection.addTrack(track, stream);
  let work = Promise.resolve();
  const socket = open({
    channel,
    onmessage: (signal) => { work = work.then(() => take(connection, socket, signal)); },
    onopen: async () => {
      if (me < other) return;
      await connection.setLocalDescription();
      socket.send({ description: connection.localDescription });
    },
  });
  connection.onicecandidate = ({ candidate }) => candidate && socket.send({ candidate });
  connection.ontrack = ({ streams: [remote] }) => show(other, remote);
  return connection;
}

async function take(connection, socket, { description, candidate }) {
  if (candidate) return connection.addIceCandidate(candidate);
  await connection.setRemoteDescription(description);
  if (description.type !== 'offer') return;
  await connection.setLocalDescription();
  socket.send({ description: connection.localDescription });
}

function show(other, stream) {
  const id = `video-${other}`;
  const video = document.getElementById(id) ?? document.createElement('video');
  Object.assign(video, { id, muted: true, autoplay: true, srcObject: stream });
  video.dataset.other = other;
  document.getElementById('videos').append(video);
}

function close(other) {
  peers[other]?.close();
  delete peers[other];
  document.getElementById(`video-${other}`)?.remove();
  gone.push(other);
}

function seen() {
  return [...document.querySelectorAll('video')]
    .filter((video) => video.videoWidth > 0 && video.getVideoPlaybackQuality().totalVideoFrames > 5)
    .map((video) => Number(video.dataset.other));
}
