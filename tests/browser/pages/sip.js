// One user agent of JsSIP or SIP.js, as npm has them, with the audio of this browser. `happened` has all events in their order.
import { agents } from '/conformance/sip_agents.mjs';

import { commonJs } from './commonjs.js';

const packages = '/conformance/node_modules';
const happened = (window.happened = []);
const say = (_, what, fields = {}) => happened.push({ what, ...fields });
const media = () => ({ mediaConstraints: { audio: true, video: false }, pcConfig: { iceServers: [] } });
const load = {
  jssip: async () => ({ JsSIP: commonJs(`${packages}/jssip`) }),
  sipjs: async () => ({ SIP: await import(`${packages}/sip.js/lib/index.js`) }),
};

let agent, loaded;
window.prepare = async (library) => {
  loaded = await load[library]();
};
window.act = async (name, { library, ...fields }) => {
  if (name === 'open') agent = new (agents({ ...loaded, say, media })[library])('', fields);
  else await agent[name](fields);
};
// Bytes of audio that have arrived.
window.heard = async () => {
  let bytes = 0;
  for (const report of (await agent.peerConnection.getStats()).values()) {
    if (report.type === 'inbound-rtp' && report.kind === 'audio') bytes += report.bytesReceived;
  }
  return bytes;
};
window.ready = true;
