// Small parts that the pages are made of.

import { useCallback, useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';

/** Loads something when `keys` change; an answer that comes too late is dropped. */
export function useLoad(load, keys) {
  const [state, set] = useState({ loading: true });
  const turn = useRef(0);
  const reload = useCallback(() => {
    const mine = ++turn.current;
    set((s) => ({ ...s, loading: true }));
    return load().then(
      (data) => mine === turn.current && set({ data, loading: false }),
      (error) => mine === turn.current && error.name !== 'AbortError' && set((s) => ({ ...s, error, loading: false })),
    );
  }, keys);
  useEffect(() => {
    set({ loading: true });
    reload();
    return () => { turn.current++; };
  }, [reload]);
  return { ...state, reload };
}

/** The window's title; undefined leaves it to a part of the page that says its own. */
export function useTitle(title) {
  useEffect(() => {
    if (title !== undefined) document.title = `${title} · Assay`;
  }, [title]);
}

// what one may do about it, where the server's own words do not say
const ADVICE = {
  401: 'Sign in again.',
  403: 'Ask its owner or an admin, or sign in with an account that may.',
  404: 'It was deleted, was never there, or is not shown to this account.',
  409: 'Load the page again to see how it stands now.',
  413: 'Send less at once.',
  429: 'Too much came at once.',
  500: 'That is a fault of the server: its log has more under the number below.',
  502: 'The server behind the proxy does not answer. Try again in a moment.',
  503: 'The server is busy or starting. Try again in a moment.',
  504: 'The server behind the proxy takes too long. Try again in a moment.',
};

export function Fault({ error }) {
  if (!error) return null;
  const advice = error.faults?.length ? 'Mend these and send it again:' : ADVICE[error.status];
  return (
    <div class="fault" role="alert">
      <p><b>{error.message.replace(/^./, (c) => c.toUpperCase())}{/[.!?:]$/.test(error.message) ? '' : '.'}</b> {error.retryAfter ? `Try again in ${error.retryAfter} s.` : advice}</p>
      {error.faults?.length ? <ul>{error.faults.map((f) => <li><code>{f.pointer}</code> {f.detail}</li>)}</ul> : null}
      {error.requestId ? <p class="note">request {error.requestId}</p> : null}
    </div>
  );
}

/** Holds the place of what is on its way, so that nothing jumps when it comes; it shows itself only when that takes long. */
export function Waiting({ lines = 3 }) {
  return (
    <div class="waiting" aria-busy="true">
      <p class="hidden" role="status">loading…</p>
      {Array.from({ length: lines }, (_, i) => <span key={i} style={{ width: `${88 - 17 * (i % 3)}%` }} />)}
    </div>
  );
}

/** A page's heading with what can be done from there. */
export function Head({ title, children, kicker, level = 1 }) {
  const H = `h${level}`;
  return (
    <header class="head">
      <div>{kicker ? <p class="kicker">{kicker}</p> : null}<H>{title}</H></div>
      {children ? <div class="actions">{children}</div> : null}
    </header>
  );
}

/** Says that there is nothing, and what to do so that there is. */
export function Empty({ title, children }) {
  return <div class="empty"><p class="what">{title}</p>{children ? <p>{children}</p> : null}</div>;
}

/** What was loaded, or why it was not. */
export function Loaded({ of, children }) {
  if (of.error && !of.data) return <Fault error={of.error} />;
  if (!of.data) return <Waiting />;
  return <>{of.error ? <Fault error={of.error} /> : null}{children(of.data)}</>;
}

const VERDICTS = {
  OK: ['passed', 'good'], WA: ['wrong answer', 'bad'], TL: ['time limit exceeded', 'warn'], ML: ['memory limit exceeded', 'warn'],
  OL: ['output limit exceeded', 'warn'], RE: ['runtime error', 'bad'], BF: ['build failed', 'bad'], IE: ['infrastructure error: ours', 'ours'],
  '-': ['not run', 'none'],
};

export function Verdict({ of, long }) {
  if (!of) return null;
  const [meaning, kind] = VERDICTS[of] || [of, 'none'];
  return <span class={`verdict ${kind}`} title={meaning}>{of}{long ? <span class="meaning"> {meaning}</span> : null}</span>;
}

export function Status({ of }) {
  return <span class={`status ${of}`}>{of}</span>;
}

// in the zone and the manner of who reads
const full = new Intl.DateTimeFormat(undefined, { year: 'numeric', month: 'long', day: 'numeric', hour: 'numeric', minute: '2-digit', second: '2-digit', timeZoneName: 'short' });
const short = new Intl.DateTimeFormat(undefined, { dateStyle: 'short', timeStyle: 'short' });
export function Time({ of, none = '—' }) {
  if (!of) return none;
  const at = new Date(of);
  return <time dateTime={of} title={full.format(at)}>{short.format(at)}</time>;
}

export function bytes(n) {
  if (n === null || n === undefined) return '—';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let u = 0;
  for (; n >= 1024 && u < units.length - 1; u++) n /= 1024;
  return `${u && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[u]}`;
}
export function ms(n) {
  if (n === null || n === undefined) return '—';
  return n < 10000 ? `${n < 10 && n % 1 ? n.toFixed(1) : Math.round(n)} ms` : `${(n / 1000).toFixed(1)} s`;
}
export const number = (n, digits = 2) => (n === null || n === undefined ? '—' : String(Math.round(n * 10 ** digits) / 10 ** digits));
export const percent = (x) => `${Math.round(x * 1000) / 10} %`;

/** How much of a limit was used: a bar beside its figures. */
export function Bar({ label, value, limit, format }) {
  const part = limit > 0 ? Math.min(1, value / limit) : 0;
  return (
    <div class="resource">
      <span class="name">{label}</span>
      <span class="bar" role="img" aria-label={`${label}: ${format(value)} of ${format(limit)}`}>
        <span class={part >= 1 ? 'fill over' : part > 0.8 ? 'fill near' : 'fill'} style={{ width: `${Math.max(part * 100, value > 0 ? 1 : 0)}%` }} />
      </span>
      <span class="figure">{format(value)} / {format(limit)}</span>
    </div>
  );
}

/** An estimate and its interval on a scale from 0 to `most`. */
export function Interval({ of, most, format, what }) {
  if (!of) return '—';
  const at = (x) => `${(Math.max(0, Math.min(most, x)) / most) * 100}%`;
  const words = `${format(of.estimate)} (${format(of.low)} to ${format(of.high)})`;
  return (
    <span class="interval" title={`${what}: ${words}`}>
      <span class="scale" role="img" aria-label={`${what}: ${words}`}>
        <span class="range" style={{ left: at(of.low), width: `${(Math.max(0, of.high - of.low) / most) * 100}%` }} />
        <span class="point" style={{ left: at(of.estimate) }} />
      </span>
      <span class="figure">{format(of.estimate)}</span>
    </span>
  );
}

export function Field({ label, hint, children, id }) {
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children}
      {hint ? <p class="note" id={`${id}-hint`}>{hint}</p> : null}
    </div>
  );
}

/** A button that asks once more before it does what cannot be undone. */
export function Sure({ children, ask, onSure, ...rest }) {
  const [asked, set] = useState(false);
  const yes = useRef();
  const button = useRef();
  const was = useRef(false);
  // the focus goes to the answer, and from there back to the button
  useLayoutEffect(() => {
    if (asked) yes.current?.focus();
    else if (was.current) button.current?.focus();
    was.current = asked;
  }, [asked]);
  if (!asked) return <button type="button" {...rest} ref={button} onClick={() => set(true)}>{children}</button>;
  return (
    <span class="sure" role="group" aria-label={ask}>
      <span>{ask}</span> <button type="button" class="danger" ref={yes} onClick={() => { set(false); onSure(); }}>Yes</button>{' '}
      <button type="button" onClick={() => set(false)}>No</button>
    </span>
  );
}

/** For what is gone for good: a word is typed before the button works. */
export function Typed({ id, word, label, button, onSure, busy, children }) {
  const [typed, set] = useState('');
  const ready = typed.trim() === word;
  return (
    <form onSubmit={(e) => { e.preventDefault(); if (ready) onSure(new FormData(e.currentTarget)); }}>
      {children}
      <Field id={id} label={label} hint={<>Type <code>{word}</code> to confirm.</>}>
        <input id={id} value={typed} autocomplete="off" autocapitalize="none" spellcheck={false} aria-describedby={`${id}-hint`} onInput={(e) => set(e.currentTarget.value)} />
      </Field>
      <button type="submit" class="danger" disabled={!ready || busy}>{button}</button>
    </form>
  );
}

/** A secret that is shown this once. */
export function Once({ label, text, onDone, children }) {
  const [copied, set] = useState(false);
  const top = useRef();
  useEffect(() => top.current?.focus(), []);
  return (
    <div class="card once" role="status" tabIndex={-1} ref={top}>
      <p><b>{label}</b></p>
      <p><code class="secret">{text}</code></p>
      {children}
      <p class="row">
        {navigator.clipboard ? <button type="button" class="primary" onClick={() => navigator.clipboard.writeText(text).then(() => set(true), () => {})}>{copied ? 'Copied' : 'Copy'}</button> : null}
        <button type="button" onClick={onDone}>I have it</button>
      </p>
    </div>
  );
}

/** A field that takes a file, by choosing or dropping it. */
export function Drop({ id, label, hint, accept, multiple = false, onFiles, disabled }) {
  const [over, set] = useState(false);
  const take = (files) => files.length && onFiles([...files]);
  return (
    <div class={`drop ${over ? 'over' : ''}`} onDragOver={(e) => { e.preventDefault(); set(true); }} onDragLeave={() => set(false)}
      onDrop={(e) => { e.preventDefault(); set(false); if (!disabled) take(e.dataTransfer.files); }}>
      <label for={id}>{label}</label>
      <input id={id} type="file" accept={accept} multiple={multiple} disabled={disabled} aria-describedby={hint ? `${id}-hint` : undefined}
        onChange={(e) => { take(e.currentTarget.files); e.currentTarget.value = ''; }} />
      {hint ? <p class="note" id={`${id}-hint`}>{hint}</p> : null}
    </div>
  );
}

/** How much has gone; `part` of 1. */
export function Progress({ label, part }) {
  const p = Math.round(part * 100);
  return (
    <div class="sending" role="status">
      <progress aria-label={label} max={100} value={p} /> <span class="figure">{label}: {p} %</span>
    </div>
  );
}

/** Has the browser keep a text as a file. */
export function save(name, text, type = 'application/json') {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const a = Object.assign(document.createElement('a'), { href: url, download: name });
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** Does something that may fail, and says so. */
export function useDeed() {
  const [state, set] = useState({});
  const run = useCallback(async (deed) => {
    set({ busy: true });
    try {
      const result = await deed();
      set({});
      return result;
    } catch (error) {
      set({ error });
      return undefined;
    }
  }, []);
  return [run, state];
}

/** A heading over a column of numbers. */
export const n = (title) => ({ title });

/** A table that scrolls by itself where the window is narrow. Rows with a link are walked with j, k and Enter. */
export function Table({ caption, head, children }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={caption}>
      <table>
        <caption class="hidden">{caption}</caption>
        <thead><tr>{head.map((h) => (h === '' ? <td /> : <th scope="col" class={h.title ? 'n' : ''}>{h.title || h}</th>))}</tr></thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

/** A list that is loaded page by page. `load(cursor)` gives {items, next_cursor}. */
export function usePages(load, keys) {
  const [state, set] = useState({ items: [], loading: true });
  const turn = useRef(0);
  const more = useCallback(async (cursor, before) => {
    const mine = turn.current;
    set((s) => ({ ...s, loading: true }));
    try {
      const page = await load(cursor);
      if (mine === turn.current) set({ items: [...before, ...page.items], next: page.next_cursor, loaded: true });
    } catch (error) {
      if (mine === turn.current) set((s) => ({ ...s, error, loading: false }));
    }
  }, keys);
  const reload = useCallback(() => { turn.current++; return more('', []); }, [more]);
  useEffect(() => {
    set({ items: [], loading: true });
    reload();
    return () => { turn.current++; };
  }, [reload]);
  return { ...state, reload, more: state.next ? () => more(state.next, state.items) : null };
}

export function More({ of, none = 'There are none yet.', children }) {
  return (
    <>
      <Fault error={of.error} />
      {of.loading && !of.items.length ? <Waiting lines={4} /> : null}
      {of.loaded && !of.loading && !of.items.length ? children || <Empty title={none} /> : null}
      {of.more ? <p class="row"><button type="button" disabled={of.loading} onClick={of.more}>{of.loading ? 'loading…' : 'Show more'}</button></p> : null}
    </>
  );
}
