// Renews the page of a run that is alive. A killed process says nothing: the page's own age tells.
{
  const [training, silent] = ["training", "silent"].map((id) => document.getElementById(id));
  const seconds = (name) => Number(training.dataset[name]);
  const look = () => {
    if (Date.now() / 1000 - seconds("written") > seconds("patience")) {
      training.hidden = true;
      silent.hidden = false;
    } else if (document.hidden) {
      document.addEventListener("visibilitychange", look, { once: true });
    } else {
      location.reload();
    }
  };
  if (Date.now() / 1000 - seconds("written") > seconds("patience")) look();
  else setTimeout(look, 1000 * seconds("every"));
}
