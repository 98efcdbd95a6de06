// oauth4webapi: discovery (RFC 8414), a token exchange (RFC 8693), the check of
// an access token as a resource server makes it (RFC 9068), introspection (RFC
// 7662) and revocation (RFC 7009).
import * as oauth from 'oauth4webapi'
import { assert, exchange, fetch, idToken, world } from './world.mjs'

const options = { [oauth.customFetch]: fetch }
const issuer = new URL(world.issuer)
for (const algorithm of ['oauth2', 'oidc']) {
  const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm, ...options }))
  assert(as.issuer === world.issuer, 'issuer')
  const client = { client_id: world.workload }
  const response = await oauth.genericTokenEndpointRequest(as, client, oauth.TlsClientAuth(), exchange, {
    subject_token: world.userToken, subject_token_type: idToken, audience: world.audience, scope: 'orders.write',
  }, options)
  const token = await oauth.processGenericTokenEndpointResponse(as, client, response)
  assert(token.token_type === 'bearer' && token.issued_token_type === 'urn:ietf:params:oauth:token-type:access_token', 'types')
  assert(token.scope === 'orders.write' && token.expires_in > 0, 'scope and life')

  const request = new Request(world.audience, { headers: { authorization: `Bearer ${token.access_token}` } })
  const claims = await oauth.validateJwtAccessToken(as, request, world.audience, options)
  assert(claims.sub === 'corp:alice' && claims.client_id === world.workload, 'claims')
  let refused
  try { await oauth.validateJwtAccessToken(as, request, 'https://other.example', options) } catch (e) { refused = e }
  assert(refused, 'refused for another audience')

  const introspect = async () => oauth.processIntrospectionResponse(as, client,
    await oauth.introspectionRequest(as, client, oauth.TlsClientAuth(), token.access_token, options))
  const active = await introspect()
  assert(active.active && active.scope === 'orders.write' && active.client_id === world.workload && active.sub === undefined, 'active')
  const revoke = async () => oauth.processRevocationResponse(
    await oauth.revocationRequest(as, client, oauth.TlsClientAuth(), token.access_token, options))
  await revoke()
  await revoke()
  while ((await introspect()).active) await new Promise(resolve => setTimeout(resolve, 50)) // the next heartbeat

  const refusal = await oauth.genericTokenEndpointRequest(as, client, oauth.TlsClientAuth(), exchange, {
    subject_token: world.userToken, subject_token_type: idToken, audience: 'https://nowhere.example',
  }, options)
  let error
  try { await oauth.processGenericTokenEndpointResponse(as, client, refusal) } catch (e) { error = e }
  assert(error instanceof oauth.ResponseBodyError && error.error === 'invalid_target', 'invalid_target')
}
console.log('ok')
