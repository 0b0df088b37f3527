namespace WandbLaunch.Model;

/// <summary>Where a run lives.</summary>
internal readonly record struct RunPath(string Entity, string Project, string Id)
{
    public override string ToString() => $"{Entity}/{Project}/{Id}";
}
