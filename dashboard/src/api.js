// The one way to the server: the session, calls, lists and event streams.
//
// Tokens lie in localStorage, so that all tabs share one session. A refresh token is good once, so tabs take turns
// (Web Locks, where the page came over HTTPS or from this machine), and whoever comes second finds the fresh tokens there.

import { createParser } from 'eventsource-parser';

const KEY = 'assay.session';
const base = new URL('.', location.href.split('#')[0]);
const listeners = new Set();

export class Problem extends Error {
  constructor(status, document, retryAfter) {
    super(document.detail || document.title || `the server answered ${status}`);
    this.status = status;
    this.faults = document.errors || [];
    this.requestId = document.request_id;
    this.retryAfter = retryAfter;
  }
}

export function session() {
  try {
    return JSON.parse(localStorage.getItem(KEY));
  } catch {
    return null;
  }
}

function keep(next) {
  if (next) localStorage.setItem(KEY, JSON.stringify(next));
  else localStorage.removeItem(KEY);
  for (const tell of listeners) tell(next);
}

export function onSession(tell) {
  listeners.add(tell);
  return () => listeners.delete(tell);
}

addEventListener('storage', (e) => {
  if (e.key === KEY || e.key === null) for (const tell of listeners) tell(session());
});

const tokens = (a) => ({ access: a.access_token, refresh: a.refresh_token, user: a.user });

const UNREACHABLE = 'The server cannot be reached. Look whether this device is online, then try again.';

async function send(path, { method = 'GET', body, headers, signal, token } = {}) {
  const h = { Accept: 'application/json', ...headers };
  if (token) h.Authorization = `Bearer ${token}`;
  if (body !== undefined) h['Content-Type'] = 'application/json';
  let answer;
  try {
    answer = await fetch(new URL(path, base), { method, headers: h, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    throw new Problem(0, { detail: UNREACHABLE });
  }
  return answer;
}

async function refuse(answer) {
  let document = {};
  try {
    document = await answer.json();
  } catch {
    // a proxy's page: the status has to do
  }
  throw new Problem(answer.status, document, Number(answer.headers.get('Retry-After')) || undefined);
}

const inTurn = (work) => (navigator.locks ? navigator.locks.request('assay.refresh', work) : work());

/** New tokens for a token that is no longer good; false when the session is over. */
function refresh(stale) {
  return inTurn(async () => {
    const now = session();
    if (!now) return false;
    if (now.access !== stale) return true; // another tab was first
    const answer = await send('auth/refresh', { method: 'POST', body: { refresh_token: now.refresh } });
    if (answer.ok) {
      keep(tokens(await answer.json()));
      return true;
    }
    if (answer.status === 400 || answer.status === 401) keep(null);
    else await refuse(answer);
    return false;
  });
}

async function call(path, options) {
  let now = session();
  let answer = await send(path, { ...options, token: now?.access });
  if (answer.status === 401 && now && (await refresh(now.access))) {
    now = session();
    answer = await send(path, { ...options, token: now?.access });
  }
  if (!answer.ok) await refuse(answer);
  return answer;
}

/** What the server answers, decoded; null for an empty answer. Throws Problem. */
export async function api(path, options) {
  const answer = await call(path, options);
  return answer.status === 204 ? null : answer.json();
}

export async function text(path, options) {
  return (await call(path, { ...options, headers: { Accept: 'text/plain' } })).text();
}

export const get = (path, options) => api(path, options);
export const post = (path, body, options) => api(path, { method: 'POST', body, ...options });
export const put = (path, body) => api(path, { method: 'PUT', body });
export const patch = (path, body) => api(path, { method: 'PATCH', body });
export const remove = (path) => api(path, { method: 'DELETE' });

/** Of a bare array whose next page a header names. */
export async function bare(path) {
  const answer = await call(path);
  return { items: await answer.json(), next_cursor: answer.headers.get('X-Next-Cursor') };
}

/**
 * Sends a file and tells how much of it has gone: fetch cannot. Where `url` is signed, it is sent without a token.
 * `progress` hears a part of 1.
 */
export async function upload(path, { method = 'POST', body, type, signed = false, headers = {}, progress = () => {}, signal }) {
  if (!signed) await call('me', { signal }); // a token that has run out is replaced before, not after, much was sent
  return new Promise((done, fail) => {
    const x = new XMLHttpRequest();
    x.open(method, new URL(path, base));
    x.setRequestHeader('Accept', 'application/json');
    if (type) x.setRequestHeader('Content-Type', type);
    for (const [k, v] of Object.entries(headers)) x.setRequestHeader(k, v);
    if (!signed) x.setRequestHeader('Authorization', `Bearer ${session()?.access}`);
    x.upload.onprogress = (e) => progress(e.total ? e.loaded / e.total : 0);
    x.onload = () => {
      let document = {};
      try {
        document = JSON.parse(x.responseText || '{}');
      } catch {
        // a proxy's page, or a bucket's XML: the status has to do
      }
      if (x.status >= 200 && x.status < 300) done(document);
      else fail(new Problem(x.status, document, Number(x.getResponseHeader('Retry-After')) || undefined));
    };
    x.onerror = () => fail(new Problem(0, { detail: 'The connection broke while the file was sent. Send it again.' }));
    x.onabort = () => fail(new DOMException('stopped', 'AbortError'));
    signal?.addEventListener('abort', () => x.abort(), { once: true });
    x.send(body);
  });
}

/**
 * Where a signed address of this server is seen from here: the name in it may be one that only its own side of a proxy knows.
 * Null: the file goes to another server, which the pages' policy does not allow.
 */
export function near(url) {
  const path = /\/(submissions\/uploads\/[^#]*)$/.exec(url);
  if (path) return path[1];
  return new URL(url, base).origin === base.origin ? url : null;
}

/** "?a=1&b=2" of what is neither undefined, null nor empty. */
export function query(parameters) {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(parameters)) if (v !== undefined && v !== null && v !== '') q.set(k, v);
  const s = q.toString();
  return s ? `?${s}` : '';
}

/** Every item of a list, up to a bound. */
export async function all(path, most = 1000) {
  const items = [];
  let cursor = '';
  do {
    const page = await get(`${path}${path.includes('?') ? '&' : '?'}limit=100${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && items.length < most);
  return items;
}

export async function signIn(login, password) {
  const answer = await send('auth', { method: 'POST', body: { login, password } });
  if (!answer.ok) await refuse(answer);
  keep(tokens(await answer.json()));
}

export async function signInByLink(token) {
  const answer = await send('auth/verify', { method: 'POST', body: { token } });
  if (!answer.ok) await refuse(answer);
  keep(tokens(await answer.json()));
}

export async function register(account) {
  const answer = await send('register', { method: 'POST', body: account });
  if (!answer.ok) await refuse(answer);
}

export async function signOut() {
  const now = session();
  keep(null);
  // the server is told, but whether it hears that changes nothing here
  if (now) await send('logout', { method: 'POST', body: { refresh_token: now.refresh }, token: now.access }).catch(() => {});
}

/** The id of this browser's session: the part of its refresh token that is no secret. */
export const sessionId = () => /[0-9a-f-]{36}(?=\.)/.exec(session()?.refresh || '')?.[0];

/** The session is over on the server's side too: nothing is to be told. */
export const forget = () => keep(null);

/** A key under which the same request may be sent again without being done twice. */
export function onceKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}

const wait = (ms, signal) =>
  new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', () => { clearTimeout(timer); done(); }, { once: true });
  });

/**
 * Follows a stream of events until `tell` gives true, the server has no more to say, or the signal. A stream that breaks is
 * taken up behind the last event that was heard. `state` hears "open", "again" and "end". (The browser's own
 * EventSource cannot send a token.)
 */
export async function follow(path, tell, { signal, state = () => {} }) {
  let last = null;
  let pause = 2000;
  let over = false;
  const parser = createParser({
    onEvent(e) {
      if (e.id) last = e.id;
      if (over || signal.aborted) return;
      over = tell(e.event || 'message', JSON.parse(e.data)) === true;
    },
    onRetry(ms) {
      pause = ms;
    },
  });
  while (!over && !signal.aborted) {
    try {
      const answer = await call(path, { signal, headers: { Accept: 'text/event-stream', ...(last ? { 'Last-Event-ID': last } : {}) } });
      if (answer.status === 204) break;
      state('open');
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      while (!over) {
        const { value, done } = await reader.read();
        if (done) break;
        parser.feed(value);
      }
      parser.reset();
      if (over) await reader.cancel();
    } catch (e) {
      if (signal.aborted) return;
      if (e instanceof Problem && [401, 403, 404].includes(e.status)) throw e;
    }
    if (!over && !signal.aborted) {
      state('again');
      await wait(pause, signal);
    }
  }
  state('end');
}
