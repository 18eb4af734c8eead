// The demo: a room with people, chat, and a call. Content from other members goes into the page as text, never as HTML.

import { Relay } from '../relay.mjs';

const $ = (id) => document.getElementById(id);
const relay = new Relay(new URL('.', location.href).href);
const names = new Map();
const arrived = new Set();
let room;
let call;
let countdown;

// Entering the room.

$('room').value = new URLSearchParams(location.search).get('room') ?? `room-${crypto.getRandomValues(new Uint16Array(1))[0]}`;
$('name').value = sessionStorage.getItem('name') ?? '';

$('enter-form').addEventListener('submit', (event) => {
  event.preventDefault();
  enter($('room').value.trim(), $('name').value.trim());
});

/** Error code → the field that a refused visitor fills in, and the advice to it. */
const MISSING = {
  token_required: ['token', 'Paste a token for this relay.'],
  bad_token: ['token', 'Compare it with the one that you got.'],
  token_expired: ['token', 'Paste a new one.'],
  token_not_yet_valid: ['token', 'Try again in a moment, or paste another one.'],
  not_granted: ['token', 'Paste a token for this room, or enter another room.'],
  wrong_peer: ['token', 'Paste one that is for you.'],
  password_required: ['password', 'Ask a member of the room.'],
  bad_password: ['password', 'Ask a member of the room.'],
};

function explain({ code, text }) {
  const [field, advice = ''] = MISSING[code] ?? [];
  $('problem').textContent = `The relay did not let you in: ${text}. ${advice}`;
  $('problem').hidden = false;
  if (!field) return;
  $('proof').open = true;
  $(field).focus();
  $(field).select();
}

async function enter(name, own) {
  $('problem').hidden = true;
  sessionStorage.setItem('name', own);
  const submit = $('enter-form').querySelector('button');
  submit.disabled = true;
  try {
    room = relay.join(name, { token: $('token').value.trim(), password: $('password').value });
    listenToPeople(own);
    listenToConnection(own);
    await room.ready;
  } catch (error) {
    explain(error);
    return;
  } finally {
    submit.disabled = false;
  }
  history.replaceState(null, '', link());
  document.title = `${name} · Relay demo`;
  $('room-title').textContent = name;
  $('enter').hidden = true;
  $('inside').hidden = false;
  $('room-title').focus();
}

function link() {
  const url = new URL(location.href);
  url.search = new URLSearchParams({ room: room.name });
  url.hash = '';
  return url.href;
}

// Events of the room.

function listenToPeople(own) {
  room.on('message', ({ from, channel, message }) => {
    if (channel === 'demo.name') {
      const unknown = !names.has(from) && arrived.delete(from);
      names.set(from, textOf(message).slice(0, 40));
      if (unknown) note('good', `${nameOf(from)} came in.`);
      people();
    } else if (channel === 'demo.chat') {
      say(from, textOf(message));
    }
  });
  room.on('join', ({ peer }) => {
    // The newcomer's name arrives next, as a message.
    arrived.add(peer);
    introduce(own, peer);
    people();
  });
  room.on('leave', ({ peer }) => {
    note('', `${nameOf(peer)} left.`);
    names.delete(peer);
    arrived.delete(peer);
    people();
  });
}

function listenToConnection(own) {
  room.on('open', ({ first }) => {
    // Not before: a token may say which peer this is.
    names.set(room.peer, own);
    const others = count(room.members.length - 1, 'other');
    show('good', 'Connected');
    note('good', first ? 'You are in, and the first one here.' : `You are in, with ${others}.`);
    introduce(own);
    people();
  });
  room.on('reconnecting', reconnecting);
  room.on('resumed', ({ replayed, recovered }) => {
    show('good', 'Connected');
    const missed = replayed ? `you got ${count(replayed, 'message')} that you missed` : 'nothing was missed';
    if (recovered) note('good', `Back again, and nobody noticed: ${missed}.`);
    else introduce(own);
    people();
  });
  room.on('error', ({ code, text }) => note('bad', `${code === 'not_granted' ? 'Not granted' : 'Something was lost'}: ${text}.`));
  room.on('rules', ({ rules, by }) => {
    const now = [rules.locked ? 'locked' : 'open to newcomers', rules.password ? 'with a password' : 'without a password'];
    note('', `${by ? titleOf(by) : 'The relay'} changed the rules: the room is ${now.join(', ')}.`);
  });
  room.on('kicked', ({ peer, reason }) => {
    if (peer !== room.peer) note('', `${nameOf(peer)} was put out${reason && `: ${reason}`}.`);
  });
  room.on('close', ({ code, text }) => {
    show('bad', code === 'left' ? 'You left' : `Closed: ${text}`);
    note('bad', code === 'left' ? 'You left the room.' : `It is over: ${text}.`);
  });
}

/** Others may send any JSON value; show it as text. */
function textOf(message) {
  return typeof message === 'string' ? message : JSON.stringify(message) ?? '';
}

/** The relay knows peer ids only. Each client sends its name to the others, and to each newcomer. */
function introduce(own, to) {
  room.send(own, { to, channel: 'demo.name' }).catch(() => {});
}

function nameOf(peer) {
  return names.get(peer) ?? 'Somebody';
}

function titleOf(peer) {
  return peer === room.peer ? `${nameOf(peer)} (you)` : nameOf(peer);
}

function reconnecting({ delay, attempt, code }) {
  const until = performance.now() + delay;
  if (attempt === 1) note('wait', `Disconnected (${code}). Messages that you send now wait.`);
  clearInterval(countdown);
  const tick = () => {
    const left = Math.max(0, until - performance.now()) / 1000;
    // Not more often than once a second: screen readers read it aloud.
    show('wait', left >= 1 ? `Back in ${Math.ceil(left)} s` : 'Reconnecting');
  };
  tick();
  countdown = setInterval(tick, 1000);
}

function show(state, text) {
  if (state !== 'wait') clearInterval(countdown);
  $('dot').className = `dot ${state}`;
  if ($('state').textContent !== text) $('state').textContent = text;
}

function note(state, text) {
  const item = document.createElement('li');
  const time = Object.assign(document.createElement('time'), { textContent: new Date().toLocaleTimeString() });
  item.append(element('span', '', `dot ${state}`), time, element('span', text));
  $('happened').prepend(item);
  while ($('happened').children.length > 100) $('happened').lastChild.remove();
}

function people() {
  const here = room.members.sort((one, other) => (other === room.peer) - (one === room.peer));
  $('people').replaceChildren(...here.map((peer) => element('li', titleOf(peer))));
  for (const label of document.querySelectorAll('[data-peer]')) label.textContent = titleOf(label.dataset.peer);
}

function element(tag, text = '', className = '') {
  return Object.assign(document.createElement(tag), { textContent: text, className });
}

function count(number, noun) {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

// Chat.

$('chat-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const text = $('text').value.trim();
  if (!text) return;
  $('text').value = '';
  const line = say(room.peer, text);
  if (!room.connected) line.append(element('small', ' waiting …', 'quiet'));
  try {
    await room.send(text, { channel: 'demo.chat', timeout: Infinity });
    line.querySelector('small')?.remove();
  } catch (error) {
    line.append(element('small', ` not sent: ${error.text}`, 'quiet'));
  }
});

function say(peer, text) {
  const line = element('li');
  line.append(element('b', nameOf(peer)), document.createTextNode(text));
  $('chat').append(line);
  while ($('chat').children.length > 500) $('chat').firstChild.remove();
  $('log').scrollTop = $('log').scrollHeight;
  return line;
}

// The call.

$('call').addEventListener('click', async () => {
  if (call) {
    hangUp();
    return;
  }
  $('call-problem').hidden = true;
  $('call').disabled = true;
  const stream = await camera();
  $('call').disabled = false;
  call = relay.mesh(room, { stream });
  call.on('stream', ({ peer, stream: theirs }) => watch(peer, theirs));
  call.on('gone', ({ peer }) => unwatch(peer));
  if (stream) watch(room.peer, stream);
  $('call').textContent = 'Leave the call';
  $('mute').hidden = $('blind').hidden = !stream;
});

async function camera() {
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 480 } });
  } catch (error) {
    const reason = navigator.mediaDevices ? error.message : 'browsers allow it only on https pages and on localhost';
    $('call-problem').textContent = `No camera (${reason}). You see the others; they do not see you.`;
    $('call-problem').hidden = false;
    return null;
  }
}

function hangUp() {
  for (const track of call.stream?.getTracks() ?? []) track.stop();
  call.close();
  call = undefined;
  for (const tile of [...$('videos').children]) tile.remove();
  stage();
  $('call').textContent = 'Start the call';
  $('mute').hidden = $('blind').hidden = true;
  for (const id of ['mute', 'blind']) $(id).setAttribute('aria-pressed', 'false');
}

function watch(peer, stream) {
  const id = `video-${peer}`;
  let tile = document.getElementById(id);
  if (!tile) {
    tile = Object.assign(document.createElement('li'), { id });
    const video = Object.assign(document.createElement('video'), { autoplay: true, playsInline: true, muted: peer === room.peer });
    const label = element('span', titleOf(peer));
    label.dataset.peer = peer;
    tile.append(video, label);
    $('videos').append(tile);
  }
  tile.querySelector('video').srcObject = stream;
  stage();
}

function unwatch(peer) {
  document.getElementById(`video-${peer}`)?.remove();
  stage();
}

function stage() {
  $('videos').hidden = !$('videos').children.length;
  $('nobody').hidden = !$('videos').hidden;
}

for (const [id, kind] of [['mute', 'audio'], ['blind', 'video']]) {
  $(id).addEventListener('click', () => {
    const off = $(id).getAttribute('aria-pressed') !== 'true';
    $(id).setAttribute('aria-pressed', String(off));
    for (const track of call.stream.getTracks()) if (track.kind === kind) track.enabled = !off;
  });
}

// The buttons at the top.

$('drop').addEventListener('click', () => relay.drop());

$('share').addEventListener('click', async () => {
  try {
    await navigator.clipboard.writeText(link());
    $('share').textContent = 'Copied';
  } catch {
    note('', `The link: ${link()}`);
  }
  setTimeout(() => { $('share').textContent = 'Copy link'; }, 1500);
});

$('leave').addEventListener('click', async () => {
  if (call) hangUp();
  await room.leave();
  location.reload();
});
