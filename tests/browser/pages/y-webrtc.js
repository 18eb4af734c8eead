// One document, shared by the npm package y-webrtc as it is.
import * as Y from 'yjs';
import { WebrtcProvider } from 'y-webrtc';

window.share = (topic, options = {}) => {
  const doc = new Y.Doc();
  const peerOpts = { config: { iceServers: [] } };
  window.provider = new WebrtcProvider(topic, doc, { signaling: [window.RELAY], peerOpts, ...options });
  window.text = doc.getText('text');
};
// Pages that are connected by WebRTC, and those found by way of the browser itself.
window.peers = () => [...(provider.room?.webrtcConns.values() ?? [])].filter((peer) => peer.connected).length;
window.neighbours = () => provider.room.bcConns.size;
window.signaling = () => provider.signalingConns.every((connection) => connection.connected);
window.ready = true;
