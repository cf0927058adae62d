// Swagger UI over the contract of the server that this page came from: what is tried here is tried there.

const base = new URL('..', location.href.split('#')[0]);
const place = document.getElementById('swagger-ui');

// Each operation's row is a button, and its path a link inside of it, which assistive programs cannot tell apart. The button
// does what the link does (it opens the row and puts its name into the address), so the path is only text here.
const plainNames = ({ React }) => ({
  wrapComponents: { DeepLink: () => ({ text }) => React.createElement('span', { className: 'nostyle' }, text) },
});

fetch(new URL('swagger.json', base))
  .then((answer) => {
    if (!answer.ok) throw new Error(`the contract is not there (${answer.status})`);
    return answer.json();
  })
  .then((spec) => {
    // the place that the page came from is where calls go when nothing is said; behind a proxy's path it must be said
    if (base.pathname === '/') delete spec.servers;
    else spec.servers = [{ url: base.pathname.replace(/\/$/, '') }];
    SwaggerUIBundle({
      spec,
      dom_id: '#swagger-ui',
      deepLinking: true,
      docExpansion: 'list',
      filter: true,
      validatorUrl: null,
      presets: [SwaggerUIBundle.presets.apis],
      plugins: [plainNames],
    });
  })
  .catch((error) => {
    place.textContent = String(error.message);
  });
