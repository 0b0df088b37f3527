namespace WandbLaunch.Model;

/// <summary>Where a run that was started is found again, by any shell.</summary>
/// <param name="Kind">What the id names: <c>process</c>, <c>container</c>, or what another resource has.</param>
/// <param name="Id">Its id there.</param>
/// <param name="Place">Where that is, when the id alone does not tell: the address of an engine, a control group.</param>
public sealed record RunHandle(string Kind, string Id, string? Place = null)
{
    /// <summary>A process of this machine.</summary>
    public const string Process = "process";

    /// <summary>A container of an engine.</summary>
    public const string Container = "container";

    /// <summary>In words, for people.</summary>
    public override string ToString() => $"{Kind} {(Kind == Container && Id.Length > 12 ? Id[..12] : Id)}";
}
