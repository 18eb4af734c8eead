// Cases of the protocol, by name, as the client plays them; each throws if it fails.

function assert(condition, text) {
  if (!condition) throw new Error(text || 'not so');
}

const hears = async (condition) => {
  for (let turn = 0; turn < 400; turn += 1) {
    if (condition()) return;
    await new Promise((later) => { setTimeout(later, 25); });
  }
  throw new Error('not heard');
};
const send = (text) => settled($.connection.webRtcHub3.server.send(text));
const texts = () => heard.map((one) => one.message);

const cases = {
  'start is done with the transport that was asked for': async () => {
    assert(await begin() === transport);
  },
  'the connection id is a UUID': async () => {
    assert(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(page.id), page.id);
  },
  'a call is done without a value': async () => {
    assert(JSON.stringify(await say('one')) === '["done",null]');
  },
  'the caller hears its own message, once': async () => {
    await hears(() => texts().includes('one'));
    assert(texts().filter((text) => text === 'one').length === 1);
  },
  'many calls keep their order': async () => {
    await Promise.all(Array.from({ length: 9 }, (_, number) => say(number)));
    await hears(() => texts().filter(Number.isInteger).length === 9);
    // Posts race with each other.
    const numbers = texts().filter(Number.isInteger);
    assert((transport === 'webSockets' ? numbers : numbers.sort()).join('') === '012345678', numbers);
  },
  'text of all scripts arrives as it was': async () => {
    await say('+ % é ☃ \u{1f600} </script>');
    await hears(() => texts().includes('+ % é ☃ \u{1f600} </script>'));
  },
  'half a surrogate pair becomes U+FFFD': async () => {
    await say('cut \ud83d');
    await hears(() => texts().includes('cut \ufffd'));
  },
  'an unknown method fails in the words of the original': async () => {
    assert((await call('nope'))[1] === "'nope' method could not be resolved.");
  },
  'an unknown hub fails in the words of the original': async () => {
    const failed = await settled(page.createHubProxy('nope').invoke('send'));
    assert(failed[1] === "'nope' Hub could not be resolved.", failed[1]);
  },
  'method names have any case': async () => {
    assert((await call('SEND', '{"message":"case"}'))[0] === 'done');
    await hears(() => texts().includes('case'));
  },
  'a call with the wrong number of arguments fails': async () => {
    assert((await call('Send'))[0] === 'fail');
    assert((await call('Send', '{}', '{}'))[0] === 'fail');
  },
  'state of a proxy does no harm': async () => {
    $.connection.webRtcHub3.state.colour = 'red';
    assert((await say('state'))[0] === 'done');
  },
  'a message that is too large fails with the code': async () => {
    const failed = await new Promise((done) => {
      $.connection.webRtcHub3.server.send('x'.repeat(1600000)).fail((error) => done(error));
    });
    assert(failed.source === 'HubException' && failed.data.code === 'too_large', failed.message);
    assert((await say('small'))[0] === 'done');
  },
  'nothing was slow, lost or an error': async () => {
    assert(!states.includes(2) && lost.length === 0 && errors.length === 0, errors.join());
  },
  'stop and start make another connection': async () => {
    const before = page.id;
    page.stop();
    await begin();
    assert(page.id !== before);
    assert((await say('again'))[0] === 'done');
    await hears(() => texts().includes('again'));
    page.stop();
  },
};

// The outcome of each case, in turn.
async function play() {
  const outcomes = {};
  for (const [name, run] of Object.entries(cases)) {
    try {
      await run();
      outcomes[name] = 'passes';
    } catch (error) {
      outcomes[name] = `fails: ${error.message}`;
    }
  }
  return outcomes;
}
