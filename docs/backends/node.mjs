// Makes tokens for the users of a site. Start it with `AUTH_SECRET=… node node.mjs`; its pages fetch /token.
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const sign = (text) => createHmac('sha256', process.env.AUTH_SECRET).update(text).digest('base64url');
const users = new Map([['of-alice', 'alice'], ['of-bob', 'bob']]); // your logins: session → user

createServer((request, response) => {
  const user = users.get(/(?:^|; )session=([^;]*)/.exec(request.headers.cookie)?.[1]);
  if (request.url !== '/token' || !user) return response.writeHead(user ? 404 : 401).end();
  const rooms = [{ room: 'demo', can: ['join', 'publish', 'presence'] }];
  const claims = { sub: user, exp: Math.floor(Date.now() / 1000) + 3600, rooms };
  const text = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  return response.writeHead(200, { 'Cache-Control': 'no-store' }).end(`${text}.${sign(text)}`);
}).listen(process.env.PORT ?? 3000, '127.0.0.1');
