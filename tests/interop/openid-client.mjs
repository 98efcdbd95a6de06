// openid-client: discovery as OpenID Connect and as OAuth, client credentials,
// and a token exchange as a generic grant.
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
}
console.log('ok')
