/** What is said aloud: a summary, every five seconds at most. */
import { useEffect, useRef, useState } from "preact/hooks";
import { Announcer } from "../model/announce.js";

/** count: events so far; state: where the run is; news: what else changed. */
export function Live({ count, state, news }: { count: number; state: string; news: string | null }) {
  const announcer = useRef<Announcer>(null);
  announcer.current ??= new Announcer();
  const latest = useRef({ state, count });
  const [text, setText] = useState("");
  if (count > latest.current.count) announcer.current.events(count - latest.current.count);
  latest.current = { state, count };
  useEffect(() => {
    if (news !== null) announcer.current?.news(news);
  }, [news]);
  useEffect(() => {
    const timer = setInterval(() => {
      const next = announcer.current?.next(Date.now(), latest.current.state);
      if (typeof next === "string") setText(next);
    }, 1_000);
    return () => clearInterval(timer);
  }, []);
  return <p class="unseen" role="status" aria-live="polite" data-live>{text}</p>;
}
