// The database: Entra logins only, no pooler (connections carry settings of their own), no server
// parameters. The handler makes and migrates its schema by itself.

import { postgresSize, postgresDisk, postgresTable, deployerType } from '../types.bicep'

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the server.')
param name string

@description('Size of the server.')
param sku postgresSize

@description('Disk of the server in GB, as it is or larger: what it has grown to cannot be taken back.')
param storageGb postgresDisk

@description('Subnet of the server; null: reachable from addresses of Azure.')
param subnetId string?

@description('DNS zone of the server, when it has a subnet.')
param zoneId string?

@description('User name of the app: the name of its identity.')
param appName string

@description('Principal of the app.')
param appPrincipalId string

@description('User name of the person who deploys; empty: no login for a person.')
param personName string

@description('Principal of the person; empty: no login for a person.')
param personPrincipalId string

@description('What the person is.')
param personType deployerType

var private = subnetId != null
var hasPerson = !empty(personName) && !empty(personPrincipalId)

resource server 'Microsoft.DBforPostgreSQL/flexibleServers@2025-08-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: sku
    tier: postgresTable[sku].tier
  }
  properties: {
    version: '17'
    authConfig: {
      activeDirectoryAuth: 'Enabled'
      passwordAuth: 'Disabled'
      tenantId: tenant().tenantId
    }
    storage: {
      storageSizeGB: storageGb
      autoGrow: 'Enabled'
    }
    backup: {
      backupRetentionDays: 7
      geoRedundantBackup: 'Disabled'
    }
    highAvailability: { mode: 'Disabled' }
    network: private
      ? {
          delegatedSubnetResourceId: subnetId
          privateDnsZoneArmResourceId: zoneId
          publicNetworkAccess: 'Disabled'
        }
      : { publicNetworkAccess: 'Enabled' }
  }
}

// The server takes one change at a time: what follows is a chain.
resource database 'Microsoft.DBforPostgreSQL/flexibleServers/databases@2025-08-01' = {
  parent: server
  name: 'pixcrawler'
  properties: {
    charset: 'UTF8'
    collation: 'en_US.utf8'
  }
}

resource app 'Microsoft.DBforPostgreSQL/flexibleServers/administrators@2025-08-01' = {
  parent: server
  name: appPrincipalId
  properties: {
    principalName: appName
    principalType: 'ServicePrincipal'
    tenantId: tenant().tenantId
  }
  dependsOn: [database]
}

resource person 'Microsoft.DBforPostgreSQL/flexibleServers/administrators@2025-08-01' = if (hasPerson) {
  parent: server
  // A name is asked for even where there is no such resource.
  name: hasPerson ? personPrincipalId : 'none'
  properties: {
    principalName: personName
    principalType: personType
    tenantId: tenant().tenantId
  }
  dependsOn: [app]
}

// 0.0.0.0 stands for every address of Azure; a login still needs a token.
resource azureAddresses 'Microsoft.DBforPostgreSQL/flexibleServers/firewallRules@2025-08-01' = if (!private) {
  parent: server
  name: 'azure'
  properties: {
    startIpAddress: '0.0.0.0'
    endIpAddress: '0.0.0.0'
  }
  dependsOn: [app, person]
}

@description('Resource id of the server.')
output serverId string = server.id

@description('Name of the server.')
output serverName string = server.name

@description('Host name of the server.')
output host string = server.properties.fullyQualifiedDomainName

@description('Name of the database.')
output database string = database.name
