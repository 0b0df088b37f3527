using System.Management.Automation;

namespace WandbLaunch.Benchmarks.Empty;

/// <summary>What the least binary module has: one cmdlet.</summary>
[Cmdlet(VerbsCommon.Get, "Nothing")]
public sealed class GetNothingCommand : PSCmdlet { }
