/** Names that only one tab of a browser holds. */

/** Let go of a name. Somebody else may have it when what is returned is kept. */
export type Release = () => void | Promise<void>;

const ANSWER_MS = 300; // that another tab may take to say that it holds a name

/**
 * Hold a name among all tabs of this origin until it is released or the tab is gone. Null: another
 * tab holds it.
 *
 * By a Web Lock; where there is none (pages that came by plain http from another machine), by
 * asking the other tabs.
 */
export function claimAmongTabs(name: string): Promise<Release | null> {
  return globalThis.navigator?.locks ? claimByLock(name) : claimByAsking(name);
}

function claimByLock(name: string): Promise<Release | null> {
  return new Promise((resolve, reject) => {
    const held = (lock: Lock | null): Promise<void> | undefined => {
      if (!lock) {
        resolve(null);
        return undefined;
      }
      return new Promise(release => {
        resolve(async () => {
          release();
          await released;
        });
      });
    };
    const released = navigator.locks.request(name, { ifAvailable: true }, held);
    released.catch(reject);
  });
}

/**
 * Ask whether somebody holds the name, and from then on answer that we do. Of two who ask at once,
 * the one with the smaller token gets it.
 */
function claimByAsking(name: string): Promise<Release | null> {
  const channel = new BroadcastChannel(`ot-jupyter:${name}`);
  const token = crypto.getRandomValues(new Uint32Array(2)).join('-');
  let held = false;
  return new Promise(resolve => {
    const end = (result: Release | null) => {
      clearTimeout(timer);
      if (!result) {
        channel.close();
      }
      resolve(result);
    };
    const timer = setTimeout(() => {
      held = true;
      end(() => channel.close());
    }, ANSWER_MS);
    channel.onmessage = ({ data }: MessageEvent<{ asks?: string; held?: true }>) => {
      if (data.asks !== undefined && (held || token < data.asks)) {
        channel.postMessage({ held: true });
      } else if (!held) {
        end(null);
      }
    };
    channel.postMessage({ asks: token });
  });
}
