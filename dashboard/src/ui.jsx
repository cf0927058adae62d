// Small parts that the pages are made of.

import { useCallback, useEffect, useRef, useState } from 'preact/hooks';

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

export function useTitle(title) {
  useEffect(() => {
    document.title = title ? `${title} · Assay` : 'Assay';
  }, [title]);
}

export function Fault({ error }) {
  if (!error) return null;
  return (
    <div class="fault" role="alert">
      <p>{error.message}{error.retryAfter ? ` Try again in ${error.retryAfter} s.` : ''}</p>
      {error.faults?.length ? <ul>{error.faults.map((f) => <li><code>{f.pointer}</code> {f.detail}</li>)}</ul> : null}
      {error.requestId ? <p class="note">request {error.requestId}</p> : null}
    </div>
  );
}

/** What was loaded, or why it was not. */
export function Loaded({ of, children }) {
  if (of.error && !of.data) return <Fault error={of.error} />;
  if (!of.data) return <p class="note" role="status">loading…</p>;
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

const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
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
  if (!asked) return <button type="button" {...rest} onClick={() => set(true)}>{children}</button>;
  return (
    <span class="sure" role="group" aria-label={ask}>
      {ask} <button type="button" class="danger" ref={(b) => b?.focus()} onClick={() => { set(false); onSure(); }}>Yes</button>{' '}
      <button type="button" onClick={() => set(false)}>No</button>
    </span>
  );
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

export function More({ of }) {
  return (
    <>
      <Fault error={of.error} />
      {of.loading ? <p class="note" role="status">loading…</p> : null}
      {of.loaded && !of.items.length ? <p class="note">There are none yet.</p> : null}
      {of.more && !of.loading ? <button type="button" onClick={of.more}>Show more</button> : null}
    </>
  );
}
