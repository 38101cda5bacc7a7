// The hook as our users have it, written anew from its behaviour. Its flaws are the point and must stay: it polls once
// and never again, believes any JSON body whatever the status, never looks for doubles, and opens a second socket at
// the end of a run. The services must behave so that this client shows the truth.
import { useCallback, useEffect, useRef, useState } from "react";

const query = new URLSearchParams(window.location.search);
const API = query.get("api");
const WS = query.get("ws");
const POLL_MS = 4000;

const ends = (event) => event.type === "workflow_completed" || event.type === "workflow_failed";

export function useWorkflowEvents(runId, username) {
  const [events, setEvents] = useState([]);
  const [isTerminal, setIsTerminal] = useState(false);
  const pollTimer = useRef(null);
  const socket = useRef(null);

  const pollEvents = async () => {
    if (isTerminal) return;
    try {
      const response = await fetch(`${API}/api/v1/runs/${runId}/events`);
      const data = await response.json();
      setEvents(data.events || []);
      const last = data.events && data.events[data.events.length - 1];
      if (last && ends(last)) {
        setIsTerminal(true);
        clearTimeout(pollTimer.current);
      }
    } catch (error) {
      console.error("poll:", error);
    }
  };

  const resetPollTimer = useCallback(() => {
    clearTimeout(pollTimer.current);
    if (!isTerminal) pollTimer.current = setTimeout(pollEvents, POLL_MS);
  }, [isTerminal, runId]);

  useEffect(() => {
    const ws = new WebSocket(`${WS}/ws?username=${username}&run_id=${runId}`);
    socket.current = ws;
    ws.onopen = () => resetPollTimer();
    ws.onmessage = (message) => {
      try {
        const data = JSON.parse(message.data);
        setEvents((previous) => [...previous, data]);
        resetPollTimer();
        if (ends(data)) {
          setIsTerminal(true);
          clearTimeout(pollTimer.current);
        }
      } catch (error) {
        console.error("message:", error);
      }
    };
    ws.onerror = () => console.error("socket: error");
    ws.onclose = (event) => console.log("socket: closed", event.code);
    return () => {
      clearTimeout(pollTimer.current);
      socket.current.close();
    };
  }, [runId, username, resetPollTimer]);

  return { events, isTerminal };
}
