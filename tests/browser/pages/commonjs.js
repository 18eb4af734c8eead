// Loads npm packages that are CommonJS modules, as they are, without a bundler: `commonJs('/…/node_modules/NAME')`.
const modules = new Map();
const isPackage = /\/node_modules\/(?:@[^/]+\/)?[^/]+$/;

function read(url) {
  const request = new XMLHttpRequest();
  request.open('GET', url, false);
  request.send();
  if (request.status !== 200) throw new Error(`no module ${url}`);
  return request.responseText;
}

const join = (base, name) => new URL(name, `http://x${base}`).pathname;

// The file that a path means: the one that its package names, itself, or the one with the usual ending.
function resolve(path) {
  if (isPackage.test(path)) {
    const { browser, main } = JSON.parse(read(`${path}/package.json`));
    return resolve(join(`${path}/`, typeof browser === 'string' ? browser : main ?? 'index.js'));
  }
  return path.endsWith('/') ? `${path}index.js` : /\.js(on)?$/.test(path) ? path : `${path}.js`;
}

export function commonJs(path) {
  const file = resolve(path);
  if (modules.has(file)) return modules.get(file).exports;
  const module = { exports: {} };
  modules.set(file, module);
  const text = read(file);
  if (file.endsWith('.json')) {
    module.exports = JSON.parse(text);
    return module.exports;
  }
  const packages = /^(.*\/node_modules)\//.exec(file)[1];
  const require = (name) => commonJs(name.startsWith('.') ? join(file, name) : join(`${packages}/`, name));
  new Function('module', 'exports', 'require', `${text}\n//# sourceURL=${file}`)(module, module.exports, require);
  return module.exports;
}
