// A page that keeps itself up says so when it no longer can: nobody is to take old numbers for new ones.
const stale = document.getElementById("stale");

document.addEventListener("htmx:error", () => { stale.hidden = false; });
document.addEventListener("htmx:response:error", () => { stale.hidden = false; });
document.addEventListener("htmx:after:request", (told) => {
  if (told.detail.ctx.response.status < 400) stale.hidden = true;
});
