import { useState } from 'preact/hooks';
import { get, patch, query, register } from '../api.js';
import { Empty, Fault, Field, Head, More, Sure, Table, Time, useDeed, usePages, useTitle } from '../ui.jsx';

const ROLES = ['viewer', 'user', 'agent', 'instructor', 'admin'];

export function Users({ user }) {
  const [role, setRole] = useState('');
  const list = usePages((cursor) => get(`users${query({ role, limit: 100, cursor })}`), [role]);
  const [run, { busy, error }] = useDeed();
  const [said, say] = useState('');
  useTitle('Users');
  const change = (u, what, words) => run(async () => {
    await patch(`users/${u.id}`, what);
    say(`${u.login}: ${words}.`);
    list.reload();
  });
  const make = (e) => {
    e.preventDefault();
    const form = e.currentTarget;
    const f = new FormData(form);
    run(async () => {
      await register({ login: f.get('login'), password: f.get('password'), role: f.get('role') });
      say(`${f.get('login')} is made.`);
      form.reset();
      list.reload();
    });
  };
  return (
    <>
      <Head title="Users" />
      <div class="row">
        <Field id="role" label="Role">
          <select id="role" value={role} onChange={(e) => setRole(e.currentTarget.value)}><option value="">any</option>{ROLES.map((r) => <option>{r}</option>)}</select>
        </Field>
      </div>
      <Fault error={error} />
      <p class="hold" role="status">{said}</p>
      {list.items.length ? (
        <Table caption="Users" head={['Login', 'Name', 'Address', 'Role', 'Since', '']}>
          {list.items.map((u) => (
            <tr key={u.id} class={u.disabled ? 'off' : ''}>
              <th scope="row" class="long">{u.login}</th><td class="long">{u.name || '—'}</td><td class="long">{u.email || '—'}</td>
              <td>
                <select aria-label={`Role of ${u.login}`} value={u.role} disabled={busy || u.id === user.id} onChange={(e) => change(u, { role: e.currentTarget.value }, `is ${e.currentTarget.value} now`)}>
                  {ROLES.map((r) => <option>{r}</option>)}
                </select>
              </td>
              <td><Time of={u.created_at} /></td>
              <td>
                {u.id === user.id ? <span class="note">you</span> : u.disabled
                  ? <button type="button" disabled={busy} onClick={() => change(u, { disabled: false }, 'may sign in again')}>Enable</button>
                  : <Sure disabled={busy} ask={`Disable ${u.login}?`} onSure={() => change(u, { disabled: true }, 'is disabled')}>Disable</Sure>}
              </td>
            </tr>
          ))}
        </Table>
      ) : null}
      <More of={list}><Empty title={`Nobody is ${role}.`} /></More>
      <form class="card" onSubmit={make}>
        <h2>A new account</h2>
        <div class="grid">
          <Field id="new-login" label="Login"><input id="new-login" name="login" required autocomplete="off" autocapitalize="none" /></Field>
          <Field id="new-password" label="Password"><input id="new-password" name="password" type="password" required autocomplete="new-password" /></Field>
          <Field id="new-role" label="Role"><select id="new-role" name="role">{ROLES.map((r) => <option selected={r === 'user'}>{r}</option>)}</select></Field>
        </div>
        <button type="submit" disabled={busy}>Make the account</button>
      </form>
    </>
  );
}
