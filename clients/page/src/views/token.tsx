/** Asks for the token that the services want. */
import { useEffect, useRef, useState } from "preact/hooks";
import { forgetToken } from "../access.js";
import { userHref } from "../model/route.js";
import { useAccess } from "../ui/hooks.js";
import { isTyping } from "../ui/keys.js";

/** user: whose runs it is to show, where that is known. */
export function TokenForm({ user }: { user: string | null }) {
  const access = useAccess();
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);
  const [wrong, setWrong] = useState<string | null>(null);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (!isTyping(document.activeElement)) field.current?.focus();
  }, []);
  const offer = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    const refused = await access.offer(text);
    if (refused === null) return; // the form is gone
    setBusy(false);
    setWrong(refused);
    field.current?.select();
  };
  const said = busy ? "Asking the API." : (wrong ?? access.wants);
  return (
    <section class="token" aria-labelledby="token-title" data-token-form>
      <h2 id="token-title">This service wants a token</h2>
      <p id="token-said" class={wrong !== null && !busy ? "trouble" : undefined} role="status" aria-live="polite" data-token-said>{said}</p>
      <form onSubmit={(event) => void offer(event)} autocomplete="off" noValidate>
        <label for="token">Token</label>
        <div class="who-line">
          <input
            ref={field} id="token" type="password" class="mono" value={text} autocomplete="off" autocapitalize="none" spellcheck={false}
            aria-invalid={wrong !== null} aria-describedby="token-said token-how"
            onInput={(event) => { setText(event.currentTarget.value); setWrong(null); }}
          />
          <button type="submit" class="main" aria-disabled={busy}>Use the token</button>
        </div>
      </form>
      <p id="token-how" class="rule">
        To get one: <code>./dev api watch-token --user {user ?? "alice"}</code>, or <code>POST /api/v1/watch-tokens</code> with
        an API key that may mint. It stays in this tab, until that is closed or you forget it.
      </p>
    </section>
  );
}

/** Nothing can be shown before there is one. */
export function TokenView({ user }: { user: string }) {
  return (
    <div class="start">
      <div class="thread" aria-hidden="true" />
      <TokenForm user={user} />
    </div>
  );
}

/** The address names somebody whom the token does not show. */
export function OtherView({ user }: { user: string }) {
  const access = useAccess();
  const own = access.about.user ?? "";
  return (
    <div class="start wrong" data-other>
      <div class="thread broken" aria-hidden="true" />
      <h1>The token is {own}'s, not {user}'s</h1>
      <p class="lead">With it the API shows the runs of <strong class="mono">{own}</strong>, and nobody else's.</p>
      <p class="choices">
        <a class="main" href={userHref(own)}>The runs of {own}</a>
        <button type="button" onClick={() => forgetToken(access)}>Forget the token</button>
      </p>
    </div>
  );
}
