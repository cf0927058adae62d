import { useState } from 'preact/hooks';
import { register, signIn } from '../api.js';
import { Fault, Field, useDeed, useTitle } from '../ui.jsx';

export function SignIn() {
  const [fresh, setFresh] = useState(false);
  const [run, { busy, error }] = useDeed();
  useTitle(fresh ? 'Register' : 'Sign in');
  const submit = (e) => {
    e.preventDefault();
    const f = new FormData(e.currentTarget);
    run(async () => {
      if (fresh) await register({ login: f.get('login'), password: f.get('password'), ...(f.get('name') ? { name: f.get('name') } : {}) });
      await signIn(f.get('login'), f.get('password'));
    });
  };
  return (
    <form class="card narrow" onSubmit={submit}>
      <h1>{fresh ? 'Register' : 'Sign in'}</h1>
      <Fault error={error} />
      <Field id="login" label="Login"><input id="login" name="login" autocomplete="username" autocapitalize="none" spellcheck={false} required autofocus /></Field>
      {fresh ? <Field id="name" label="Name (if you like)"><input id="name" name="name" autocomplete="name" /></Field> : null}
      <Field id="password" label="Password">
        <input id="password" name="password" type="password" autocomplete={fresh ? 'new-password' : 'current-password'} required />
      </Field>
      <p class="row">
        <button type="submit" class="primary" disabled={busy}>{fresh ? 'Register' : 'Sign in'}</button>
        <button type="button" class="plain" onClick={() => setFresh(!fresh)}>{fresh ? 'I have an account' : 'Make an account'}</button>
      </p>
    </form>
  );
}
