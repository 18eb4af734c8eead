// The seed's page over plain HTTP: an EventSource in place of the WebSocket, whose `onmessage` is the seed's, and posts.

// global stuff
var channels = {};
var currentUserUUID = Math.round(Math.random() * 60535) + 5000;
var room = window.RELAY.replace(/^ws/, 'http');
var key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
var place = `peer=user-${currentUserUUID}&resume=${key}`;
var websocket = new EventSource(`${room}/events?${place}`);

websocket.onmessage =  function(e) {
    data = JSON.parse(e.data);
    
    if(data.sender == currentUserUUID) return;
    
    if (channels[data.channel] && channels[data.channel].onmessage) {
        channels[data.channel].onmessage(data.message);
    };
};

var welcomes = [];
websocket.addEventListener('welcome', (e) => welcomes.push(JSON.parse(e.data)));
var last = new Promise((resolve) => websocket.addEventListener('welcome', resolve));
var post = (envelope) => (last = last.then(() => fetch(`${room}/messages?${place}`, { method: 'POST', body: JSON.stringify(envelope) })));

// overriding "openSignalingChannel" method
function openSignalingChannel(config) {
    var channel = config.channel || this.channel;
    channels[channel] = config;

    if (config.onopen) setTimeout(config.onopen, 1000);
    return {
        send: function (message) {
            post({
                sender: currentUserUUID,
                channel: channel,
                message: message
            });
        },
        channel: channel
    };
}
