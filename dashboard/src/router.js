// Pages are found by the part of the address behind "#", so that one file serves them all, under whatever path a proxy puts it.

import { useEffect, useState } from 'preact/hooks';

export function here() {
  const [path, search = ''] = (location.hash.slice(1) || '/').split('?');
  return { path, parts: path.split('/').filter(Boolean).map(decodeURIComponent), search: new URLSearchParams(search) };
}

export function go(path, { replace = false } = {}) {
  if (replace) location.replace(`#${path}`);
  else location.hash = path;
}

export const link = (...parts) => `#/${parts.map(encodeURIComponent).join('/')}`;

export function useRoute() {
  const [route, set] = useState(here);
  useEffect(() => {
    const change = () => set(here());
    addEventListener('hashchange', change);
    return () => removeEventListener('hashchange', change);
  }, []);
  return route;
}
