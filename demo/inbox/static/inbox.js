// Keeps the list fresh: every two seconds the same page is asked for, and only the list is replaced,
// unless the tab is hidden or the person is in the middle of it.
const live = document.querySelector("[data-live]");
async function refresh() {
  if (document.hidden || live.contains(document.activeElement) || String(getSelection())) return;
  const answer = await fetch(location.href).catch(() => null);
  if (!answer || !answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const id of ["live", "fault"]) {
    const now = document.getElementById(id), next = page.getElementById(id);
    if (now.innerHTML !== next.innerHTML) { now.innerHTML = next.innerHTML; now.className = next.className; }
  }
  document.title = page.title;
}
if (live) setInterval(refresh, 2000);
