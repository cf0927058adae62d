import { useState } from 'preact/hooks';
import { get, post, signOut } from '../api.js';
import { Fault, Field, Loaded, Time, useDeed, useLoad, useTitle } from '../ui.jsx';

export function Account({ user }) {
  const me = useLoad(() => get('me'), []);
  const [run, { busy, error }] = useDeed();
  const [done, setDone] = useState(false);
  useTitle('Account');
  const change = (e) => {
    e.preventDefault();
    const form = e.currentTarget;
    const f = new FormData(form);
    run(async () => {
      await post(`users/${user.id}/password`, { current_password: f.get('current'), password: f.get('next') });
      form.reset();
      setDone(true);
      await signOut(); // a new password ends every session
    });
  };
  return (
    <>
      <h1>{user.login}</h1>
      <Loaded of={me}>{(u) => (
        <dl class="facts">
          <div><dt>Role</dt><dd>{u.role}</dd></div>
          <div><dt>Name</dt><dd>{u.name || '—'}</dd></div>
          <div><dt>Address</dt><dd>{u.email || '—'}</dd></div>
          <div><dt>Since</dt><dd><Time of={u.created_at} /></dd></div>
        </dl>
      )}</Loaded>
      <form class="card narrow" onSubmit={change}>
        <h2>Change the password</h2>
        <p class="note">All sessions end; sign in with the new one then.</p>
        <Fault error={error} />
        {done ? <p role="status">The password is changed.</p> : null}
        <Field id="current" label="Password until now"><input id="current" name="current" type="password" autocomplete="current-password" required /></Field>
        <Field id="next" label="New password"><input id="next" name="next" type="password" autocomplete="new-password" required minLength={8} /></Field>
        <button type="submit" disabled={busy}>Change</button>
      </form>
    </>
  );
}
