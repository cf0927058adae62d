// The frame: who is signed in, where one is, and what the keys do.

import { Component, render } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { onSession, session, signOut } from './api.js';
import { Account } from './pages/account.jsx';
import { Agents } from './pages/agents.jsx';
import { NewBenchmark } from './pages/authoring.jsx';
import { Benchmark, Benchmarks } from './pages/benchmarks.jsx';
import { LinkSignIn } from './pages/link.jsx';
import { NewPit, Pit, Projects } from './pages/projects.jsx';
import { Rejudging, Rejudgings } from './pages/rejudgings.jsx';
import { Runners } from './pages/runners.jsx';
import { SignIn } from './pages/signin.jsx';
import { Submission, Submissions } from './pages/submissions.jsx';
import { Users } from './pages/users.jsx';
import { Webhook, Webhooks } from './pages/webhooks.jsx';
import { go, link, useRoute } from './router.js';
import { Empty, Head, useTitle } from './ui.jsx';

const STAFF = ['instructor', 'admin'];
const SENDERS = ['agent', 'user', ...STAFF];
const PLACES = [
  { name: 'Benchmarks', at: 'benchmarks', key: 'b' },
  { name: 'Projects', at: 'projects', key: 'p' },
  { name: 'Submissions', at: 'submissions', key: 's' },
  { name: 'Agents', at: 'agents', key: 'a' },
  { name: 'Webhooks', at: 'webhooks', key: 'w', roles: SENDERS },
  { name: 'Runners', at: 'runners', key: 'r', roles: STAFF },
  { name: 'Rejudgings', at: 'rejudgings', key: 'j', roles: STAFF },
  { name: 'Users', at: 'users', key: 'u', roles: ['admin'] },
];

function Nowhere() {
  useTitle('Not found');
  return <><Head title="Nothing is here" /><Empty title="The address is not one of this dashboard's, or its page is not for this account."><a href={link('benchmarks')}>To the benchmarks</a></Empty></>;
}

function page(route, user) {
  const [first = 'benchmarks', ...rest] = route.parts;
  const staff = STAFF.includes(user.role);
  const props = { user, staff, rest, search: route.search };
  switch (first) {
    case 'benchmarks': return rest[0] === 'new' && staff ? <NewBenchmark {...props} /> : rest[0] ? <Benchmark key={rest[0]} id={rest[0]} {...props} /> : <Benchmarks {...props} />;
    case 'submissions': return rest[0] ? <Submission key={rest[0]} id={rest[0]} {...props} /> : <Submissions {...props} />;
    case 'projects': return rest[0] === 'new' && staff ? <NewPit {...props} /> : rest[0] ? <Pit key={rest[0]} id={rest[0]} {...props} /> : <Projects {...props} />;
    case 'webhooks': return !SENDERS.includes(user.role) ? <Nowhere /> : rest[0] ? <Webhook key={rest[0]} id={rest[0]} {...props} /> : <Webhooks {...props} />;
    case 'agents': return <Agents {...props} />;
    case 'account': return <Account {...props} />;
    case 'runners': return staff ? <Runners {...props} /> : <Nowhere />;
    case 'rejudgings': return !staff ? <Nowhere /> : rest[0] ? <Rejudging key={rest[0]} id={rest[0]} {...props} /> : <Rejudgings {...props} />;
    case 'users': return user.role === 'admin' ? <Users {...props} /> : <Nowhere />;
    default: return <Nowhere />;
  }
}

const THEMES = { auto: '◐', light: '☀', dark: '☾' };
function Theme() {
  const [theme, set] = useState(localStorage.getItem('assay.theme') || 'auto');
  useEffect(() => {
    if (theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    localStorage.setItem('assay.theme', theme);
  }, [theme]);
  const next = { auto: 'light', light: 'dark', dark: 'auto' }[theme];
  return (
    <button type="button" class="plain" onClick={() => set(next)} title={`colours: ${theme}`} aria-label={`Colours: ${theme}. Change to ${next}`}>
      {THEMES[theme]}
    </button>
  );
}

function Help({ open, close, places }) {
  const dialog = useRef();
  useEffect(() => {
    if (open) dialog.current.showModal();
    else dialog.current.close();
  }, [open]);
  const rows = [
    ...places.map((p) => [`g ${p.key}`, p.name]),
    ['/', 'Search or filter on this page'],
    ['j k', 'Next, previous row of a table'],
    ['Enter', 'Open the row'],
    ['Ctrl Enter', 'Submit, from the editor'],
    ['Esc Tab', 'Leave the editor'],
    ['?', 'This help'],
  ];
  return (
    <dialog ref={dialog} onClose={close} aria-labelledby="keys">
      <h2 id="keys">Keys</h2>
      <dl class="keys">{rows.map(([k, what]) => <div><dt>{k.split(' ').map((x) => <kbd>{x}</kbd>)}</dt><dd>{what}</dd></div>)}</dl>
      <button type="button" onClick={close}>Close</button>
    </dialog>
  );
}

const typing = (e) => e.composedPath().some((n) => n.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(n.tagName));

function useKeys(places, help) {
  useEffect(() => {
    let going = 0;
    const press = (e) => {
      if (e.ctrlKey || e.metaKey || e.altKey || typing(e) || document.querySelector('dialog[open]')) return;
      if (performance.now() - going < 1500) {
        going = 0;
        const place = places.find((p) => p.key === e.key);
        if (place) {
          e.preventDefault();
          go(`/${place.at}`);
        }
        return;
      }
      if (e.key === 'g') going = performance.now();
      else if (e.key === '?') help();
      else if (e.key === '/') {
        const field = document.querySelector('main input[type=search], main select, main input');
        if (field) {
          e.preventDefault();
          field.focus();
        }
      } else if (e.key === 'j' || e.key === 'k') step(e.key === 'j' ? 1 : -1);
    };
    addEventListener('keydown', press);
    return () => removeEventListener('keydown', press);
  }, [places]);
}

/** The focus on the link of the next row, or the one before. Rows that are on their way are waited for. */
let awaited = null;
function step(by) {
  awaited?.disconnect();
  const rows = [...document.querySelectorAll('main tbody tr')].map((r) => r.querySelector('a')).filter(Boolean);
  const at = rows.findIndex((a) => a.closest('tr') === document.activeElement?.closest('tr'));
  const next = rows[at < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, at + by))];
  if (next) {
    next.focus();
    next.scrollIntoView({ block: 'nearest' });
  } else if (document.querySelector('main [aria-busy="true"]')) {
    const from = document.activeElement;
    awaited = new MutationObserver(() => {
      if (document.activeElement !== from) awaited.disconnect(); // something else was chosen meanwhile
      else if (document.querySelector('main tbody tr a')) step(by);
    });
    awaited.observe(document.getElementById('main'), { childList: true, subtree: true });
  }
}

/** A fault of ours in one page leaves the frame standing. */
class Guard extends Component {
  static getDerivedStateFromError(error) {
    return { error };
  }

  render({ children }, { error }) {
    if (!error) return children;
    return <div class="fault" role="alert"><p><b>This page failed:</b> {String(error.message || error)}. What was entered elsewhere is kept.</p><button type="button" onClick={() => location.reload()}>Load it again</button></div>;
  }
}

function App() {
  const [now, setNow] = useState(session);
  const [help, setHelp] = useState(false);
  const route = useRoute();
  const main = useRef();
  useEffect(() => onSession(setNow), []);
  const user = now?.user;
  const places = PLACES.filter((p) => !p.roles || p.roles.includes(user?.role));
  useKeys(user ? places : [], () => setHelp(true));
  // who uses a screen reader or the keyboard goes on where the new page begins
  // (before it is painted: later, it would take the focus from what was chosen there in between)
  const first = useRef(true);
  useLayoutEffect(() => {
    if (!first.current) {
      main.current?.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    first.current = false;
  }, [route.path]);
  const at = route.parts[0] || 'benchmarks';
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); main.current.focus(); }}>To the content</a>
      <header class="top">
        <a class="brand" href="#/"><svg viewBox="0 0 32 32" width="24" height="24" aria-hidden="true"><rect width="32" height="32" rx="7" /><path d="M6 10h20M16 7v18M10 25h12M6 10l-3 7h6zm20 0l-3 7h6z" /></svg>Assay</a>
        {user ? (
          <nav aria-label="Main">
            {places.map((p) => <a href={link(p.at)} data-name={p.name} aria-current={at === p.at ? 'page' : undefined}>{p.name}</a>)}
          </nav>
        ) : <span class="grow" />}
        <div class="who">
          {user ? <a class="me" href={link('account')} title={`Account of ${user.login}`} aria-current={at === 'account' ? 'page' : undefined}>{user.login}</a> : null}
          {user ? <button type="button" class="plain" onClick={signOut}>Sign out</button> : null}
          <button type="button" class="plain" onClick={() => setHelp(true)} aria-label="Keys" title="keys">?</button>
          <Theme />
        </div>
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        <Guard key={route.parts.slice(0, 2).join('/')}>
          {at === 'link' && route.parts[1] ? <LinkSignIn token={route.parts[1]} user={user} /> : user ? page(route, user) : <SignIn />}
        </Guard>
      </main>
      <footer>
        <a href="swagger/">API</a> <a href="ui/licenses.txt">Licences</a>
      </footer>
      <Help open={help} close={() => setHelp(false)} places={places} />
    </>
  );
}

render(<App />, document.getElementById('app'));
