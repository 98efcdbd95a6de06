// openid-client: discovery as OpenID Connect and as OAuth, client credentials,
// a token exchange as a generic grant, introspection and revocation.
import * as client from 'openid-client'
import { assert, exchange, fetch, idToken, world } from './world.mjs'

for (const algorithm of ['oidc', 'oauth2']) {
  const config = await client.discovery(new URL(world.issuer), world.workload, undefined, client.TlsClientAuth(), { algorithm, [client.customFetch]: fetch })
  config[client.customFetch] = fetch
  const token = await client.genericGrantRequest(config, exchange, {
    subject_token: world.userToken, subject_token_type: idToken, audience: world.audience, scope: 'orders.write',
  })
  assert(token.access_token && token.scope === 'orders.write', 'exchange')
  const own = await client.clientCredentialsGrant(config, { audience: world.ownAudience })
  assert(own.access_token && own.scope === 'ledger.read', 'client credentials')
  const active = await client.tokenIntrospection(config, own.access_token)
  assert(active.active && active.aud === world.ownAudience && active.token_type === 'Bearer', 'active')
  await client.tokenRevocation(config, own.access_token)
  while ((await client.tokenIntrospection(config, own.access_token)).active) await new Promise(resolve => setTimeout(resolve, 50)) // the next heartbeat
}
console.log('ok')
