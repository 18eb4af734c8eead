// Parts that browsers had in 2015 and have no more: a URL that stands for a stream, and a way to stop one as a whole.
// RTCMultiConnection 2 knows no other way to show a video. It has nothing to do with signaling.
{
  const streams = new Map();
  const createObjectURL = URL.createObjectURL;
  const src = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'src');

  URL.createObjectURL = (object) => {
    if (!(object instanceof MediaStream)) return createObjectURL.call(URL, object);
    streams.set(`stream:${object.id}`, object);
    return `stream:${object.id}`;
  };

  Object.defineProperty(HTMLMediaElement.prototype, 'src', {
    ...src,
    set(url) {
      if (streams.has(url)) this.srcObject = streams.get(url);
      else src.set.call(this, url);
    },
  });

  MediaStream.prototype.stop ??= function stop() {
    for (const track of this.getTracks()) track.stop();
  };
}
