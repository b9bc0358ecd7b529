// Says that there is something new; the page itself changes only when its reader asks for it.
const here = document.querySelector('.fresh');
const state = here.dataset.state;
setInterval(async () => {
  if (document.hidden || here.firstChild) return;
  try {
    const answer = await fetch('state', { cache: 'no-store', signal: AbortSignal.timeout(4000) });
    if (!answer.ok || (await answer.text()) === state) return;
    const link = document.createElement('a');
    link.href = location.href.split('#')[0];
    link.textContent = 'There is something new: show it';
    here.append(link);
  } catch {
    // The server has ended; the page stays as it is.
  }
}, 5000);
