// What every script here is told: where the server is, and who to be. With
// Node's fetch a client certificate needs a dispatcher of undici.
import { readFileSync } from 'node:fs'
import { Agent, fetch as send } from 'undici'

export const world = JSON.parse(process.env.WORLD)

const dispatcher = new Agent({
  connect: { cert: readFileSync(`${world.svid}/svid.pem`), key: readFileSync(`${world.svid}/svid-key.pem`), ca: readFileSync(world.bundle) },
})
export const fetch = (url, options) => send(url, { ...options, dispatcher })

export const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
export const idToken = 'urn:ietf:params:oauth:token-type:id_token'

export function assert(holds, what) {
  if (!holds) throw new Error(`not so: ${what}`)
}
