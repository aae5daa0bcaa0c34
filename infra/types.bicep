// What more than one file must agree on.

@export()
@description('A preset of limits, as the handler knows it (PIXCRAWLER_ENVIRONMENT).')
type profileName = 'local' | 'azure' | 'azure_functions'

@sealed()
@description('The limits of one instance.')
type profileLimits = {
  @description('Chunks at once.')
  @minValue(1)
  max_chunks: int

  @description('Temp space the handler may use, in MB.')
  @minValue(100)
  temp_mb: int

  @description('Temp space the platform gives, in MB.')
  @minValue(100)
  quota_mb: int
}

@export()
@sealed()
@description('profiles.json; the handler reads the same file.')
type profileTable = {
  local: profileLimits
  azure: profileLimits
  azure_functions: profileLimits
}

@export()
@description('Memory of an instance in MB, as Flex Consumption offers it.')
type instanceMemory = 512 | 2048 | 4096

@export()
@description('Disk of the database in GB, as the service offers it.')
type postgresDisk = 32 | 64 | 128 | 256 | 512 | 1024 | 2048 | 4095 | 4096 | 8192 | 16384 | 32767

@export()
@description('Who deploys.')
type deployerType = 'User' | 'Group' | 'ServicePrincipal'

@export()
@description('Where notifications are repeated.')
type relayKind = 'none' | 'slack' | 'teams'

@export()
@sealed()
@description('A telephone that gets text messages.')
type smsReceiver = {
  @description('Without plus sign, such as 49.')
  countryCode: string

  @description('Without the leading zero.')
  phoneNumber: string
}

@export()
@description('The sizes of the database that connections have been counted for.')
type postgresSize = 'Standard_B1ms' | 'Standard_B2s' | 'Standard_D2ds_v5' | 'Standard_D4ds_v5'

@sealed()
type postgresRow = {
  tier: 'Burstable' | 'GeneralPurpose'

  @description('Connections that are left for users; 15 more are the service\'s own.')
  userConnections: int
}

@sealed()
type postgresRows = {
  Standard_B1ms: postgresRow
  Standard_B2s: postgresRow
  Standard_D2ds_v5: postgresRow
  Standard_D4ds_v5: postgresRow
}

// Source: https://learn.microsoft.com/azure/postgresql/flexible-server/concepts-limits
@export()
@description('Tier and connections of each size.')
var postgresTable postgresRows = {
  Standard_B1ms: { tier: 'Burstable', userConnections: 35 }
  Standard_B2s: { tier: 'Burstable', userConnections: 414 }
  Standard_D2ds_v5: { tier: 'GeneralPurpose', userConnections: 844 }
  Standard_D4ds_v5: { tier: 'GeneralPurpose', userConnections: 1703 }
}
