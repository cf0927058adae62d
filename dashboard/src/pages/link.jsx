import { signInByLink } from '../api.js';
import { go } from '../router.js';
import { Fault, useDeed, useTitle } from '../ui.jsx';

/** What a mailed link leads to. The button uses it up, and nothing else does: programs that look through mail open every link. */
export function LinkSignIn({ token, user }) {
  const [run, { busy, error }] = useDeed();
  useTitle('Sign in');
  const submit = (e) => {
    e.preventDefault();
    run(async () => {
      await signInByLink(token);
      go('/benchmarks', { replace: true }); // the link is used up: the way back must not lead to it
    });
  };
  return (
    <form class="card narrow" onSubmit={submit}>
      <h1>Sign in by the mailed link</h1>
      <Fault error={error} />
      <p>{user ? `Here ${user.login} is signed in; the link's account takes that place.` : 'The link works once, and ends the others that were mailed to you.'}</p>
      <p class="row">
        <button type="submit" class="primary" disabled={busy} autofocus>Sign in</button>
        <a href="#/">{user ? 'Stay signed in as I am' : 'Sign in with a password'}</a>
      </p>
    </form>
  );
}
