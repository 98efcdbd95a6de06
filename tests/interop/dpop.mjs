// DPoP (RFC 9449) with nonces: openid-client gets tokens that are bound to its key,
// in each algorithm that the server lists; oauth4webapi holds them against their
// proofs as a resource server does, and refuses what a thief can do with them.
import * as client from 'openid-client'
import * as oauth from 'oauth4webapi'
import { assert, exchange, fetch, idToken, world } from './world.mjs'

const config = await client.discovery(new URL(world.issuer), world.workload, undefined, client.TlsClientAuth(), { algorithm: 'oauth2', [client.customFetch]: fetch })
config[client.customFetch] = fetch
const as = config.serverMetadata()
const options = { [oauth.customFetch]: fetch, requireDPoP: true }
const api = new URL('https://keyed.shop:8443/accounts/7?x=y')

// request is what a client sends to the service, with a proof by its handle.
async function request(handle, token, method = 'GET') {
  let sent
  await oauth.protectedResourceRequest(token, method, api, undefined, undefined, {
    DPoP: handle, [oauth.customFetch]: async (url, init) => { sent = new Request(url, { method, headers: init.headers }); return new Response() },
  })
  return sent
}

async function refuses(what, request, more) {
  let refused
  try { await oauth.validateJwtAccessToken(as, request, world.keyedAudience, { ...options, ...more }) } catch (e) { refused = e }
  assert(refused, `refused: ${what}`)
}

assert(as.dpop_signing_alg_values_supported.includes('ES256'), 'algorithms')
for (const algorithm of as.dpop_signing_alg_values_supported.filter((a) => a !== 'EdDSA')) { // its other name; oauth4webapi says Ed25519
  const handle = client.getDPoPHandle(config, await client.randomDPoPKeyPair(algorithm))
  const jkt = await handle.calculateThumbprint()
  const own = await client.clientCredentialsGrant(config, { audience: world.keyedAudience }, { DPoP: handle })
  const token = await client.genericGrantRequest(config, exchange, {
    subject_token: world.userToken, subject_token_type: idToken, audience: world.keyedAudience, scope: 'call',
  }, { DPoP: handle })
  for (const t of [own, token]) assert(t.token_type === 'dpop', `${algorithm}: token_type`)

  const claims = await oauth.validateJwtAccessToken(as, await request(handle, token.access_token), world.keyedAudience, options)
  assert(claims.cnf.jkt === jkt && claims.sub === 'corp:alice' && claims.client_id === world.workload, `${algorithm}: claims`)

  const thief = client.getDPoPHandle(config, await client.randomDPoPKeyPair(algorithm))
  await refuses('another key', await request(thief, token.access_token))
  await refuses('Bearer', new Request(api, { headers: { authorization: `Bearer ${token.access_token}` } }))
  // Narrowing what is held needs the same key; the token stays bound to it.
  const narrow = { subject_token: token.access_token, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token', audience: world.keyedAudience, scope: 'call' }
  const narrowed = await client.genericGrantRequest(config, exchange, narrow, { DPoP: handle })
  assert((await oauth.validateJwtAccessToken(as, await request(handle, narrowed.access_token), world.keyedAudience, options)).cnf.jkt === jkt, `${algorithm}: narrowed`)
  let error
  try { await client.genericGrantRequest(config, exchange, narrow, { DPoP: thief }) } catch (e) { error = e }
  assert(error?.error === 'invalid_request', `${algorithm}: a thief narrows`)
}

// Without a proof, or where the resource has another binding, nothing is bound.
let error
try { await client.clientCredentialsGrant(config, { audience: world.keyedAudience }) } catch (e) { error = e }
assert(error?.error === 'invalid_request', 'no proof')
const handle = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'))
const plain = await client.clientCredentialsGrant(config, { audience: world.ownAudience }, { DPoP: handle })
assert(plain.token_type === 'bearer', 'a resource of another binding')
console.log('ok')
