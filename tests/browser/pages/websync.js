// A stand-in for fm.js, fm.websync.js and its extensions for subscribers and chat, which are in no registry:
// it sends the same requests in their order, for the calls of the tests' pages alone.
window.fm = { websync: {} };

fm.websync.connectArgs = class {
  constructor(args) {
    Object.assign(this, args, { ext: {} });
  }
  setExtensionValueJson(name, json) {
    this.ext[name] = JSON.parse(json);
  }
};

fm.websync.client = class {
  constructor(url) {
    const token = Math.floor(Math.random() * 1e8);
    this.url = `${url}${url.includes('?') ? '&' : '?'}token=${token}&src=js&AspxAutoDetectCookieSupport=1`;
    this.counter = 0;
    this.receivers = {};
    this.errors = [];
  }

  setAutoDisconnect() {}

  async send(messages, signed = true) {
    for (const message of messages) {
      if (signed) {
        message.clientId = this.clientId;
        message.ext = { ...message.ext, 'fm.sessionId': this.sessionId };
      }
      message.id = String(++this.counter);
    }
    const body = JSON.stringify(messages).replace(/\//g, '\\/');
    const answer = await fetch(`${this.url}&_cb=${Date.now()}`, {
      method: 'POST', body, credentials: 'include', headers: { 'Content-Type': 'application/json' },
    });
    return answer.json();
  }

  async connect(args, comesBack = false) {
    const handshake = {
      channel: '/meta/handshake', version: '1.0', minimumVersion: '1.0',
      supportedConnectionTypes: ['websocket', 'long-polling'],
      ext: { ...args.ext, ...(comesBack ? { 'fm.lcid': this.clientId, 'fm.lsid': this.sessionId } : {}) },
    };
    const [reply] = await this.send([handshake], false);
    if (!reply.successful) {
      this.errors.push(reply.error);
      return;
    }
    [this.clientId, this.sessionId] = [reply.clientId, reply.ext['fm.sessionId']];
    args.onSuccess?.({ getIsReconnect: () => comesBack });
    this.stream(args);
  }

  async stream(args) {
    let received = false;
    for (;;) {
      const connect = { channel: '/meta/connect', connectionType: 'long-polling', ext: { 'fm.ack': received } };
      const answer = await this.send([connect]).catch(() => []);
      if (!answer.length || answer.some((one) => one.successful === false)) return this.connect(args, true);
      received = answer[0].channel !== '/meta/connect';
      if (received) answer.forEach((one) => this.receivers[one.channel]?.(one));
    }
  }

  async join({ channel, userId, userNickname, onSuccess, onUserJoin, onUserLeave, onReceive }) {
    const [key, name] = [`fm.chat.userId${channel}`, `fm.chat.userNickname${channel}`];
    const text = (value) => (typeof value === 'string' ? value : '');
    const user = (records) => ({ getUserId: () => records[key], getUserNickname: () => records[name] });
    this.receivers[channel] = (one) => onReceive?.({
      getData: () => one.data,
      getPublishingUser: () => user(one.ext['fm.publishing'].boundRecords),
    });
    this.receivers[`/fm/subscribers${channel}`] = ({ data: { client, type } }) => {
      const changed = user(client.boundRecords);
      if (type === 'subscribe') onUserJoin?.({ getJoinedUser: () => changed });
      else onUserLeave?.({ getLeftUser: () => changed });
    };
    const [bound, subscribed] = await this.send([
      { channel: '/meta/bind', binding: [{ key, value: text(userId) }, { key: name, value: text(userNickname) }] },
      { channel: '/meta/subscribe', subscription: [channel, `/fm/subscribers${channel}`], ext: { 'fm.tag': '' } },
    ]);
    if (!bound.successful || !subscribed.successful) throw new Error('Join failed');
    const users = subscribed.ext['fm.subscribers'][channel].map((one) => user(one.boundRecords));
    onSuccess?.({ getUsers: () => users });
  }

  async publish({ channel, data }) {
    const [reply] = await this.send([{ channel, data }]);
    if (!reply.successful) this.errors.push(reply.error);
  }
};
