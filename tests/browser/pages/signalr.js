// A page with the hub for WebRTC: the messages that it hears, the states that it goes through, and its errors.

const { transport = 'auto', room = '', jsonp = '' } = Object.fromEntries(given);
const heard = [];
const lost = [];
const states = [];
const errors = [];
const page = $.connection.hub;
page.qs = { room };
page.stateChanged(({ newState }) => states.push(newState));
page.error((error) => errors.push(String(error)));
$.connection.webRtcHub3.client.onMessageReceived = (text) => heard.push(JSON.parse(text));
$.connection.webRtcHub3.client.onMessagesLost = (report) => lost.push(report);

const begin = () => new Promise((done, fail) => {
  page.start({ transport, jsonp: Boolean(jsonp) }).done(() => done(page.transport.name)).fail((error) => fail(error));
});

// The results of promises of jQuery.
const settled = (promise) => new Promise((done) => {
  promise.done((value) => done(['done', value ?? null])).fail((error) => done(['fail', error.message]));
});
const say = (message) => settled($.connection.webRtcHub3.server.send(JSON.stringify({ channel: 'c', message })));
const call = (...called) => settled($.connection.webRtcHub3.invoke(...called));
