/** An address that names nothing: what is wrong with it, and the rule. */
export function WrongView({ what, rule }: { what: string; rule: string }) {
  return (
    <div class="start wrong" data-wrong="true">
      <div class="thread broken" aria-hidden="true" />
      <h1>{what}</h1>
      <p class="lead">{rule}.</p>
      <p><a class="main" href="#/">Choose a username</a></p>
    </div>
  );
}
