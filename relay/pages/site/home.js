// The page at /: tabs, copying, and health. Without JavaScript the page shows all snippets, one below the other.

const POLL_INTERVAL = 4000;
const KEEP_WORKER = 60_000;

const $ = (id) => document.getElementById(id);

// Tabs with the keyboard control of the ARIA Authoring Practices.

const panels = [...document.querySelectorAll('[data-tab]')];
const tabs = panels.map((panel) => {
  const tab = Object.assign(document.createElement('button'), { type: 'button', textContent: panel.dataset.tab });
  tab.id = `tab-${panel.id}`;
  tab.setAttribute('role', 'tab');
  tab.setAttribute('aria-controls', panel.id);
  panel.setAttribute('role', 'tabpanel');
  panel.setAttribute('aria-labelledby', tab.id);
  tab.addEventListener('click', () => select(tab));
  panel.append(copyButton(panel.querySelector('code:last-of-type')));
  return tab;
});

function select(chosen) {
  tabs.forEach((tab, index) => {
    tab.setAttribute('aria-selected', String(tab === chosen));
    tab.tabIndex = tab === chosen ? 0 : -1;
    panels[index].hidden = tab !== chosen;
  });
}

$('tabs').append(...tabs);
$('tabs').hidden = false;
$('tabs').addEventListener('keydown', ({ key }) => {
  const here = tabs.indexOf(document.activeElement);
  const next = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: -1 }[key];
  if (here < 0 || next === undefined) return;
  const tab = tabs.at(next % tabs.length);
  select(tab);
  tab.focus();
});
select(tabs[0]);

// Copying.

function copyButton(source) {
  const button = Object.assign(document.createElement('button'), { type: 'button', className: 'copy', textContent: 'Copy' });
  button.addEventListener('click', () => copy(button, source));
  return button;
}

async function copy(button, source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = 'Copied';
  } catch {
    // Copying is not allowed here: select the text, so that one key press copies it.
    getSelection().selectAllChildren(source);
    button.textContent = 'Selected';
  }
  setTimeout(() => { button.textContent = 'Copy'; }, 1500);
}

for (const button of document.querySelectorAll('[data-copy]')) {
  button.addEventListener('click', () => copy(button, $(button.dataset.copy)));
}

// Health. Behind a load balancer, each answer may come from another worker: keep all that answered within a minute.

const workersByName = new Map();

async function poll() {
  try {
    const answer = await fetch('health', { cache: 'no-store' });
    const report = await answer.json();
    const details = report.reasons ? [] : (report.workers ?? [report]);
    for (const [index, worker] of details.entries()) {
      workersByName.set(worker.worker ?? `worker ${index + 1}`, { ...worker, at: Date.now() });
    }
    for (const [name, { at }] of workersByName) if (Date.now() - at > KEEP_WORKER) workersByName.delete(name);
    show(report.ready ? 'good' : 'bad', report.ready ? 'Ready' : 'Not ready');
    // Only operators get numbers; others get the names of the checks that fail.
    if (report.reasons) showReasons(report.reasons);
  } catch {
    show('bad', 'No answer');
  }
  setTimeout(poll, document.hidden ? POLL_INTERVAL * 5 : POLL_INTERVAL);
}

function showReasons(reasons) {
  for (const id of ['workers', 'connections', 'rooms']) $(id).textContent = '–';
  const item = document.createElement('li');
  item.textContent = `checks that fail: ${reasons.join(', ')}`;
  $('list').replaceChildren(...(reasons.length ? [item] : []));
}

function show(state, text) {
  const workers = [...workersByName].sort(([one], [other]) => one.localeCompare(other));
  const sum = (name) => workers.reduce((total, [, worker]) => total + (worker[name] ?? 0), 0);
  $('dot').className = `dot ${state}`;
  // Change the text only if it is different: screen readers announce each change.
  if ($('ready').textContent !== text) $('ready').textContent = text;
  $('workers').textContent = workers.length;
  $('connections').textContent = sum('connections');
  // A room may be on several workers, so the numbers cannot be added: there are at least as many as on one worker.
  const rooms = Math.max(0, ...workers.map(([, worker]) => worker.rooms ?? 0));
  $('rooms').textContent = workers.length > 1 && rooms ? `≥ ${rooms}` : rooms;
  $('list').replaceChildren(...workers.map(([name, worker]) => line(name, worker)));
}

function line(name, { ready, draining, uptime_seconds: uptime, checks = {} }) {
  const failing = Object.values(checks).find((check) => !check.ok);
  const item = document.createElement('li');
  const dot = Object.assign(document.createElement('span'), { className: `dot ${ready ? 'good' : 'bad'}` });
  const label = Object.assign(document.createElement('code'), { textContent: name });
  const text = draining ? 'draining' : failing?.text ?? `up ${since(uptime)}`;
  item.append(dot, label, Object.assign(document.createElement('span'), { className: 'quiet', textContent: text }));
  return item;
}

function since(seconds = 0) {
  const units = [['d', 86_400], ['h', 3600], ['min', 60], ['s', 1]];
  const [unit, size] = units.find(([, length]) => seconds >= length) ?? units[3];
  return `${Math.floor(seconds / size)} ${unit}`;
}

poll();
