"""Socket.IO 0.9, which came before Engine.IO: `/socket.io/1/`, WebSocket and polling by XHR."""
