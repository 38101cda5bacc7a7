/** The start: who are you, and what is this. */
import { useEffect, useRef, useState } from "preact/hooks";
import { isUsername, USER_RULE, userHref } from "../model/route.js";
import { recall, remember } from "../theme.js";
import { Legend } from "../ui/help.js";
import { useAccess } from "../ui/hooks.js";
import { TokenForm } from "./token.js";

const KEY = "runfeed.user";

export function StartView() {
  const access = useAccess();
  return (
    <div class="start">
      <div class="thread" aria-hidden="true" />
      <h1>Runs, while they happen.</h1>
      <p class="lead">
        Runfeed shows what happens in your workflows, jobs and renders the moment it happens: every event at once, in order,
        exactly once. If the socket breaks, the page asks the API instead, and nothing is missing when it comes back.
      </p>
      {access.wants !== null ? <TokenForm user={null} /> : <Who key={access.life} own={access.about.user} />}
      <div class="start-legend">
        <h2>How to read the line</h2>
        <Legend />
      </div>
    </div>
  );
}

/** own: whose the token is that is in use. */
function Who({ own }: { own: string | null }) {
  const [name, setName] = useState(() => own ?? recall(KEY) ?? "");
  const [wrong, setWrong] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  const go = (event: Event): void => {
    event.preventDefault();
    setWrong(!isUsername(name));
    if (!isUsername(name)) return field.current?.focus();
    remember(KEY, name);
    location.hash = userHref(name);
  };
  return (
    <form class="who" onSubmit={go} noValidate>
      <label for="username">Whose runs?</label>
      <div class="who-line">
        <input
          ref={field} id="username" name="username" class="mono" value={name} placeholder="alice" autocomplete="username"
          autocapitalize="none" spellcheck={false} aria-invalid={wrong} aria-describedby="username-rule"
          onInput={(event) => { setName(event.currentTarget.value); setWrong(false); }}
        />
        <button type="submit" class="main">Show runs</button>
      </div>
      <p id="username-rule" class={wrong ? "rule trouble" : "rule"} role={wrong ? "alert" : undefined} data-wrong={wrong}>
        {wrong ? `${name === "" ? "A username is needed." : `“${name}” is not a username.`} ${USER_RULE}.` : about(own)}
      </p>
    </form>
  );
}

function about(own: string | null): string {
  if (own !== null) return `The token in use shows ${own}'s runs.`;
  return "Any name that runs are reported under. A new one starts empty, and you can play a sample run in it.";
}
