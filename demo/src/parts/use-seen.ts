import type { RefObject } from "preact";
import { useEffect } from "preact/hooks";

/** Calls back whenever the element comes into view. */
export function useSeen(element: RefObject<Element | null>, onSeen: () => void): void {
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => {
      if (entries.some(({ isIntersecting }) => isIntersecting)) onSeen();
    });
    observer.observe(element.current!);
    return () => observer.disconnect();
  }, [element]);
}
