/** Plays a made-up run, and goes where it is seen. */
import { useState } from "preact/hooks";
import { runHref } from "../model/route.js";
import { playSample } from "../player.js";
import { useQuietSession } from "../ui/hooks.js";

export function Sample({ quiet }: { quiet?: boolean }) {
  const { username, proves } = useQuietSession();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const play = async (): Promise<void> => {
    setBusy(true);
    setError(null);
    try {
      location.hash = runHref(username, await playSample(username));
    } catch (why) {
      setError(why instanceof Error ? why.message : String(why));
      setBusy(false);
    }
  };
  if (proves) return null; // reporting needs an API key, which no watcher has
  return (
    <div class="sample">
      <button type="button" class={quiet ? "" : "main"} disabled={busy} data-sample onClick={() => void play()}>Play a sample run</button>
      {error !== null && <p class="trouble" role="alert">{error}</p>}
    </div>
  );
}
