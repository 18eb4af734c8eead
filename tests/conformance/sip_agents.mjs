// User agents of JsSIP and SIP.js with the same methods, for programs in Node and for pages. `agents` takes the two libraries,
// a function `say(client, what, fields)` that hears of every event, and `media`, the options of JsSIP for a call.
const iceServers = [];

// The direction of the audio that the other side offers, as a name of an event.
const offered = (sdp) => (/a=(sendonly|inactive)/.test(sdp) ? 'hold' : 'unhold');

export function agents({ JsSIP, SIP, say, media }) {
  class Jssip {
    constructor(client, { urls, user, options }) {
      this.client = client;
      this.sockets = urls.map((url) => new JsSIP.WebSocketInterface(url));
      this.sessions = [];
      this.ua = new JsSIP.UA({
        // JsSIP draws among sockets of the same weight.
        sockets: this.sockets.map((socket, index) => ({ socket, weight: urls.length - index })), uri: `sip:${user}@localhost`, connection_recovery_min_interval: 1, ...options,
      });
      this.ua.on('registered', () => say(client, 'registered'));
      this.ua.on('registrationFailed', ({ cause }) => say(client, 'refused', { cause }));
      this.ua.on('disconnected', () => say(client, 'disconnected'));
      this.ua.on('newMessage', ({ originator, request }) => {
        if (originator === 'remote') say(client, 'message', { from: request.from.uri.user, body: request.body });
      });
      this.ua.on('newRTCSession', ({ originator, session }) => this.watch(originator, session));
      this.ua.start();
    }

    get session() { return this.sessions.at(-1); }

    watch(originator, session) {
      const { client } = this;
      this.sessions.push(session);
      session.on('progress', () => say(client, 'progress'));
      session.on('confirmed', () => say(client, 'confirmed'));
      session.on('ended', ({ originator: by, cause }) => say(client, 'ended', { by, cause }));
      session.on('failed', ({ cause }) => say(client, 'failed-call', { cause }));
      session.on('hold', ({ originator: by }) => say(client, 'hold', { by }));
      session.on('unhold', ({ originator: by }) => say(client, 'unhold', { by }));
      session.on('newDTMF', ({ originator: by, dtmf }) => by === 'remote' && say(client, 'dtmf', { tone: dtmf.tone }));
      session.on('newInfo', ({ originator: by, info }) => by === 'remote' && say(client, 'info', { body: info.body }));
      session.on('refer', ({ accept }) => accept((next) => this.watch('local', next), media()));
      session.on('replaces', ({ accept }) => accept());
      const connection = ({ peerconnection }) => {
        this.peerConnection = peerconnection;
        const report = () => peerconnection.connectionState === 'connected' && say(client, 'connected');
        peerconnection.addEventListener('connectionstatechange', report);
      };
      if (session.connection) connection({ peerconnection: session.connection });
      session.on('peerconnection', connection);
      if (originator === 'remote') say(client, 'call', { from: session.remote_identity.uri.user });
    }

    call({ to }) { this.ua.call(`sip:${to}@localhost`, media()); }
    answer() { this.session.answer(media()); }
    reject() { this.session.terminate({ status_code: 486 }); }
    end() { this.session.terminate(); }
    hold({ update }) { this.turn('hold', update); }
    unhold({ update }) { this.turn('unhold', update); }

    turn(what, update) {
      const begins = this.session[what]({ useUpdate: update }, () => say(this.client, 'changed'));
      if (!begins) say(this.client, 'failed', { error: `${what} is not possible now` });
    }

    dtmf({ tone }) { this.session.sendDTMF(tone); }
    info({ body }) { this.session.sendInfo('application/json', body); }

    // Blind to a user; with `attended`, the party of the first call is to take the place of this one in the second.
    transfer({ to, attended }) {
      const [first, second] = this.sessions;
      const refer = attended
        ? first.refer(second.remote_identity.uri, { replaces: second })
        : this.session.refer(`sip:${to}@localhost`);
      refer.on('accepted', () => say(this.client, 'transferred'));
    }

    message({ to, body, type }) {
      this.ua.sendMessage(`sip:${to}@localhost`, body, {
        contentType: type ?? 'text/plain',
        eventHandlers: {
          succeeded: () => say(this.client, 'sent'),
          failed: ({ cause }) => say(this.client, 'not-sent', { cause }),
        },
      });
    }

    stop() { this.ua.stop(); }
  }

  class Sipjs {
    constructor(client, { urls, user, options }) {
      this.client = client;
      this.sessions = [];
      this.agent = new SIP.UserAgent({
        uri: SIP.UserAgent.makeURI(`sip:${user}@localhost`),
        transportOptions: { server: urls[0], keepAliveInterval: 1 },
        sessionDescriptionHandlerFactoryOptions: { peerConnectionConfiguration: { iceServers }, iceGatheringTimeout: 500 },
        sipExtensionReplaces: 'Supported',
        logLevel: 'error',
        logBuiltinEnabled: false,
        delegate: {
          onInvite: (invitation) => this.watch(invitation, 'remote'),
          onMessage: (message) => {
            const { request } = message;
            message.accept();
            say(client, 'message', { from: request.from.uri.user, body: request.body });
          },
          onDisconnect: (error) => {
            say(client, 'disconnected');
            if (error) this.comeBack();
          },
        },
        ...options,
      });
      this.registerer = new SIP.Registerer(this.agent);
      this.agent.start().then(() => this.register());
    }

    register() {
      return this.registerer.register({ requestDelegate: {
        onAccept: () => say(this.client, 'registered'),
        onReject: ({ message }) => say(this.client, 'refused', { cause: message.statusCode }),
      } });
    }

    // The library leaves it to the page to connect again.
    async comeBack() {
      try {
        await this.agent.reconnect();
        await this.register();
      } catch {
        setTimeout(() => this.comeBack(), 500);
      }
    }

    get session() { return this.sessions.at(-1); }

    watch(session, originator) {
      const { client } = this;
      this.sessions.push(session);
      session.delegate = {
        onInfo: (info) => {
          info.accept();
          const tone = /Signal=\s*(\S+)/.exec(info.request.body)?.[1];
          say(client, tone ? 'dtmf' : 'info', tone ? { tone } : { body: info.request.body });
        },
        onInvite: (request) => say(client, offered(request.body), { by: 'remote' }),
        onRefer: (referral) => referral.accept().then(() => {
          const next = referral.makeInviter();
          this.watch(next, 'local');
          return next.invite();
        }),
      };
      session.stateChange.addListener((state) => {
        if (state === SIP.SessionState.Established) {
          say(client, 'confirmed');
          const { peerConnection } = session.sessionDescriptionHandler;
          this.peerConnection = peerConnection;
          const report = () => peerConnection.connectionState === 'connected' && say(client, 'connected');
          peerConnection.addEventListener('connectionstatechange', report);
          report();
        }
        if (state === SIP.SessionState.Terminated) say(client, 'ended', { by: 'remote' });
      });
      if (originator === 'remote') say(client, 'call', { from: session.remoteIdentity.uri.user });
    }

    call({ to }) {
      const inviter = new SIP.Inviter(this.agent, SIP.UserAgent.makeURI(`sip:${to}@localhost`));
      this.watch(inviter, 'local');
      const onReject = ({ message }) => say(this.client, 'rejected', { cause: message.statusCode });
      inviter.invite({ requestDelegate: { onReject } });
    }

    answer() { this.session.accept(); }
    reject() { this.session.reject({ statusCode: 486 }); }
    end() { this.session.state === SIP.SessionState.Established ? this.session.bye() : this.session.cancel(); }
    hold() { return this.turn(true); }
    unhold() { return this.turn(false); }

    async turn(hold) {
      this.session.sessionDescriptionHandlerOptionsReInvite = { hold };
      await this.session.invite({ requestDelegate: { onAccept: () => say(this.client, 'changed') } });
    }

    dtmf({ tone }) { this.tell('application/dtmf-relay', `Signal=${tone}\r\nDuration=100`); }
    info({ body }) { this.tell('application/json', body); }

    tell(contentType, content) {
      this.session.info({ requestOptions: { body: { contentDisposition: 'render', contentType, content } } });
    }

    transfer({ to, attended }) {
      const [first, second] = this.sessions;
      const [session, target] = attended
        ? [first, second] : [this.session, SIP.UserAgent.makeURI(`sip:${to}@localhost`)];
      const onNotify = (notification) => {
        notification.accept();
        if (notification.request.body.startsWith('SIP/2.0 200')) say(this.client, 'transferred');
      };
      session.refer(target, { onNotify });
    }

    message({ to, body, type }) {
      new SIP.Messager(this.agent, SIP.UserAgent.makeURI(`sip:${to}@localhost`), body, type ?? 'text/plain').message({
        requestDelegate: {
          onAccept: () => say(this.client, 'sent'),
          onReject: ({ message }) => say(this.client, 'not-sent', { cause: message.statusCode }),
        },
      });
    }

    stop() { this.agent.stop(); }
  }

  return { jssip: Jssip, sipjs: Sipjs };
}
