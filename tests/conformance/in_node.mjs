// The parts of cases that exist in Node alone.
import { execFile } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

process.on('unhandledRejection', () => {}); // of promises that lost a race

export const print = (line) => process.stdout.write(JSON.stringify(line) + '\n');

// A process of its own that runs this code: `ended` is its exit status, `said` its first output.
export function script(code) {
  let child;
  const ended = new Promise((resolve) => {
    child = execFile(process.execPath, ['-e', code], { cwd: here, timeout: 7000 }, (error) => resolve(error ? error.code : 0));
  });
  const said = new Promise((resolve) => child.stdout.once('data', resolve));
  return { ended, said, kill: () => child.kill() };
}
