// The one identity of the app: storage, telemetry and the database know it, and nobody has a key.

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the identity; also its user name in the database.')
param name string

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

@description('Resource id.')
output id string = identity.id

@description('User name in the database.')
output name string = identity.name

@description('What the app names itself by when it asks for a token.')
output clientId string = identity.properties.clientId

@description('What roles are given to.')
output principalId string = identity.properties.principalId
