import { createClient, TidewireError } from "tidewire";
import { createClient as createInline } from "tidewire/inline";

const client = createClient({ url: "https://tide.test", token: async () => "dev:ana" });
const same: typeof client = createInline({ url: "https://tide.test" });
same.channel<{ cards: { title: string } }>("board:main").set("cards", "a", { title: "x" });
export const code: TidewireError["code"] = "closed";
